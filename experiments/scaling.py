"""Estimates training on many devices: python -m experiments.scaling --arch resnet50 --stem imagenet.

See ``experiments.bench.communication``: a model on paper, not a measurement.
"""

import json
import sys
from collections.abc import Sequence

from experiments.program.start import start


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and prints the table."""
    from experiments.bench.communication import ScalingConfig, estimate, format_estimate
    from experiments.settings.fields import check_ranges
    from experiments.settings.parser import About, parse_flags

    config = parse_flags(
        ScalingConfig,
        "python -m experiments.scaling",
        About(
            "Estimates step time and efficiency of data-parallel training on many devices from given speeds.",
            examples=("python -m experiments.scaling --arch resnet50 --stem imagenet --step-ms 100",),
        ),
        sys.argv[1:] if args is None else args,
        ScalingConfig(),
    )
    check_ranges(config)
    result = estimate(config)
    if config.json:
        print(json.dumps(result.as_json()))
    else:
        print(format_estimate(config, result), end="")


if __name__ == "__main__":
    start(main)
