"""The degradation problem, and how shortcuts solve it: python -m experiments.degradation.

Figure 6 of He et al. 2015: of plain networks the deeper one has the higher *training* error, of residual
networks the lower one.
"""

from collections.abc import Sequence

from experiments.program.start import start
from experiments.training.compare import Comparison, compare

DEGRADATION = Comparison(
    module="experiments.degradation",
    title="Degradation: plain and residual networks of 20 and 56 layers",
    summary="Trains plain and residual networks of 20 and 56 layers (He et al. 2015, figure 6) by the "
    "paper's recipe; --recipe fast --epochs 18 shows the same in a tenth of its steps.",
    members=("plain20", "plain56", "resnet20", "resnet56"),
    recipe="paper",
)


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and compares."""
    compare(DEGRADATION, args)


if __name__ == "__main__":
    start(main)
