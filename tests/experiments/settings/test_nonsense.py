"""400 nonsensical flags and pairs of flags, from a seed: one line, or settings that can be."""

import dataclasses
import math
import random
import time

import pytest
from hypothesis import strategies as st

from experiments.program.start import describe
from experiments.settings.config import Config
from experiments.settings.fields import INT64_MAX, flag_of, groups_of, rules_of
from experiments.settings.flags import parse
from jax_resnet.errors import JaxResnetError
from tests.helpers.fuzz import go_on

VALUES = [
    *(
        "",
        " ",
        "-",
        "--",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "-1",
        "0",
        "1e-400",
        "1.5",
        "0x10",
        "1_000",
        "٣",
        "²",
    ),
    *("9" * 30, "-" + "9" * 30, str(2**63), str(2**64), "9" * 5000, "None", "true", "[]", "{}", "a" * 10_000),
    *(
        "\0",
        "a\0b",
        "\n",
        "\x1b[31m",
        "\udcff",
        "💥",
        "gs://x/y",
        "s3://x",
        "../..",
        "/dev/null",
        "%s",
        "{0}",
    ),
    *(
        "resnet",
        "resnet0",
        "resnet-20",
        "resnet20.5",
        "resnet\uff12\uff10",
        "resnet2000000",
        "resnet" + "9" * 400,
    ),
    *("localhost:0", "localhost:99999", "a:b:c", "1", "cosine", "digits", "list", "standard", "paper"),
]


def flags():
    """Every flag of a training program, with whether it takes a value."""
    found = []
    for _, group in groups_of(Config()):
        for field in dataclasses.fields(group):
            if rules_of(field) is not None:
                found.append((flag_of(field.name), not isinstance(getattr(group, field.name), bool)))
    return found


def nonsense(count, seed):
    rng = random.Random(seed)
    known = flags()
    for _ in range(count):
        args = []
        for _ in range(rng.choice([1, 2])):
            flag, takes = rng.choice(known)
            if rng.random() < 0.1:
                flag = flag[:-1] + rng.choice("xyz\0é")
            args.append(flag)
            if takes != (rng.random() < 0.1):
                args += [rng.choice(VALUES) for _ in range(rng.choice([1, 1, 1, 2]))]
        yield args


def check_meaningful(config):
    """What was accepted are values that a run can use: finite numbers of 64 bits, a name of a folder."""
    for _, group in groups_of(config):
        for field in dataclasses.fields(group):
            value = getattr(group, field.name)
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, float):
                    assert math.isfinite(one), (field.name, one)
                elif isinstance(one, int):
                    assert abs(one) <= INT64_MAX, (field.name, one)
                elif isinstance(one, str):
                    assert "\0" not in one, (field.name, one)
    assert "://" not in str(config.run.workdir or "")


def is_accepted(args):
    """Whether flags became settings; otherwise one line refused them."""
    try:
        config = parse("experiments.cifar10", "Trains.", args, "cifar10")
        config.check()
        check_meaningful(config)
        return True
    except JaxResnetError as error:
        message = describe(error)
        assert message.strip(), args
        assert "\n" not in message, (args, message)
        assert len(message) <= 1000, (args, len(message))
    except SystemExit as stop:  # --help, --recipe list
        message = str(stop.code)
        assert message == "0", args
    return False


@pytest.mark.parametrize("part", range(8))
def test_nonsense_is_refused_in_one_line_and_never_hangs(part):
    accepted = 0
    for args in nonsense(50, 1000 + part):
        began = time.monotonic()
        accepted += is_accepted(args)
        assert time.monotonic() - began < 20, args
    assert accepted < 30


@pytest.mark.slow
def test_a_minute_of_flags():
    known = [flag for flag, _ in flags()]
    numbers = st.one_of(st.integers(), st.floats(), st.fractions()).map(str)
    words = st.one_of(st.sampled_from(VALUES), numbers, st.text(max_size=8))
    part = st.tuples(st.sampled_from(known), st.lists(words, max_size=2))

    def check(parts):
        is_accepted([word for flag, values in parts for word in (flag, *values)])

    go_on(check, parts=st.lists(part, min_size=1, max_size=3))
