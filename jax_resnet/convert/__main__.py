"""Converts weights: ``python -m jax_resnet.convert resnet20.th resnet20.safetensors --arch resnet20``."""

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from flax import linen as nn

from jax_resnet._cli import FlagParser, UsageError, run_command
from jax_resnet._files import REASONS, refuse_url
from jax_resnet.convert.files import check_suffix, is_weights_name, read_weights, write_state_dict
from jax_resnet.convert.keys import check_style
from jax_resnet.convert.state import count_classes, find_style, from_torch, to_torch
from jax_resnet.errors import CheckpointError, WeightsError
from jax_resnet.models import create_model

ABOUT = """Converts weights between PyTorch files, safetensors and orbax checkpoints.

The suffix says what a file is: .safetensors (with PyTorch's names), or .pth, .pth.tar, .pt, .th, .bin or
.ckpt (PyTorch's own, which need PyTorch). A name without a suffix is the folder of an orbax checkpoint, as a
run writes it."""

# Flags that say what is in a file of weights; a checkpoint says it itself.
OF_FILES = ("arch", "num_classes", "stem", "variant", "option", "entry", "in_channels")


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What to convert, and how: the flags of ``parse``."""

    source: Path
    target: Path
    arch: str | None = None
    num_classes: int | None = None
    stem: str = "cifar"
    variant: str | None = None
    option: tuple[str, ...] = ()
    style: str | None = None
    entry: str | None = None
    in_channels: int | None = None
    overwrite: bool = False


def parse(args: list[str] | None) -> Conversion:
    """Reads the command line.

    Raises:
        UsageError: A flag does not exist or a value is invalid.
        SystemExit: ``--help`` was asked for and printed.
    """
    parser = FlagParser(
        prog="python -m jax_resnet.convert", description=ABOUT, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("source", metavar="IN", type=Path, help="file, or the folder of a run or of a checkpoint")
    add("target", metavar="OUT", type=Path, help="what to write")
    add("--arch", metavar="NAME", help="network, one of jax_resnet.list_models(); a checkpoint names its own")
    add("--num-classes", metavar="N", type=int, help="outputs of the network (default: those of the file)")
    add("--stem", default=Conversion.stem, metavar="NAME", help="first layers: cifar (default) or imagenet")
    add("--variant", metavar="NAME", help="ResNeXt of a public code base: pytorch_cifar or blog")
    add(
        "--option",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="other arguments of create_model, their values as JSON: 'shortcut=\"B\"' final_norm=false",
    )
    add(
        "--style",
        metavar="NAME",
        help="names to write: torchvision, timm, pytorch_cifar, akamaster, seminar or blog\n"
        "(default: those of the file, torchvision's for a checkpoint)",
    )
    add(
        "--entry",
        metavar="NAME",
        help="network in a PyTorch file of several: the place of its state_dict (model), or the\n"
        "prefix of its names (teacher) (default: the moving average where there is one)",
    )
    add(
        "--in-channels",
        metavar="N",
        type=int,
        help="adapt the first convolution to images of N channels: summed to 1, repeated and\nscaled to more",
    )
    add("--overwrite", action="store_true", help="replace OUT if it exists")
    found = vars(parser.parse_flags(args))
    return Conversion(**{**found, "option": tuple(found["option"])})


def main(args: list[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0, 1 where a file is at fault, 2 for wrong arguments."""
    try:
        command = parse(args)
        arguments = check(command)
    except (UsageError, ValueError, TypeError, OSError) as error:
        return fail(error, 2)
    try:
        convert(command, arguments)
    except (ValueError, TypeError, OSError, ImportError, CheckpointError) as error:
        return fail(error, 1)
    print(f"wrote {command.target}")
    return 0


def fail(error: Exception, status: int) -> int:
    """Prints an error as one line on standard error; returns the status."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        reason = REASONS.get(error.errno or 0, error.strerror)
        text = f"{error.filename}: {reason}" if error.filename else reason
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    return status


def is_folder(path: Path) -> bool:
    """Whether the path is a folder, or a name without a suffix, which is that of a checkpoint."""
    return path.is_dir() or not path.suffix


def check(command: Conversion) -> dict[str, Any]:
    """Checks what can be checked without reading a file; returns the arguments of ``create_model``.

    Raises:
        ValueError: An argument is wrong.
    """
    source, target = command.source, command.target
    for path in (source, target):
        refuse_url(path)
        if not is_folder(path):
            check_suffix(path)
    if not source.exists():
        raise ValueError(f"there is no {source}")
    if target.exists() and not command.overwrite:
        raise ValueError(f"{target} exists already: give --overwrite to replace it")
    if source.resolve() == target.resolve():
        raise ValueError("IN and OUT are the same")
    if command.style is not None:
        check_style(command.style)
    if command.in_channels is not None and command.in_channels < 1:
        raise ValueError(f"--in-channels must be at least 1, not {command.in_channels}")
    if is_folder(source):
        for name in OF_FILES:
            if getattr(command, name) != getattr(Conversion, name):
                flag = f"--{name.replace('_', '-')}"
                raise ValueError(
                    f"{flag} is for files of weights: a checkpoint knows its network, leave it out"
                )
        return {}
    if command.arch is None:
        raise ValueError(f"{source.name} does not say which network it is for: give --arch")
    arguments: dict[str, Any] = {"name": command.arch, "stem": command.stem}
    if command.variant is not None:
        arguments["variant"] = command.variant
    for option in command.option:
        key, _, value = option.partition("=")
        try:
            arguments[key] = json.loads(value)
        except json.JSONDecodeError:
            raise ValueError(f"--option takes NAME=VALUE with a JSON value, not {option!r}") from None
    create_model(**arguments, num_classes=command.num_classes or 0)
    return arguments


def convert(command: Conversion, arguments: dict[str, Any]) -> None:
    """Reads, converts and writes."""
    from jax_resnet import checkpoint

    style = command.style or "torchvision"
    if is_folder(command.source):
        model, variables, config = checkpoint.restore(command.source)[:3]
    else:
        state_dict, choice = read_weights(command.source, command.entry)
        if choice:
            print(choice)
        model = create_model(**arguments, num_classes=0)
        classes = command.num_classes
        arguments["num_classes"] = count_classes(state_dict, model) if classes is None else classes
        model = create_model(**arguments)
        variables = from_torch(state_dict, model, in_channels=command.in_channels)
        config = {"model": arguments}
        style = command.style or find_style(state_dict, model)
    write(command, model, variables, config, style)


def write(
    command: Conversion, model: nn.Module, variables: dict[str, Any], config: dict[str, Any], style: str
) -> None:
    """Writes the target; what is there is replaced at the end, by one rename."""
    from jax_resnet import checkpoint

    target = command.target
    if is_weights_name(target) and not target.is_dir():
        state_dict = to_torch(variables, model, style)
        target.parent.mkdir(parents=True, exist_ok=True)
        return write_state_dict(target, state_dict)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        return checkpoint.save(target, variables, config)
    if not (checkpoint.is_checkpoint(target) and (target / "config").is_dir()):
        raise WeightsError(f"{target} is not a single checkpoint: it is not replaced")
    old = target.with_name(f".{target.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    fresh = target.with_name(f".{target.name}.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    checkpoint.save(fresh, variables, config)
    target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old)
    return None


if __name__ == "__main__":
    run_command(main)
