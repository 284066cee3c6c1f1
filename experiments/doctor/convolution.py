"""Which convolution is in use and why, and the state of the compiled extension."""

from collections.abc import Iterator

from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Finding, note, ok, problem
from jax_resnet import layers
from jax_resnet._malloc import malloc_state
from jax_resnet.errors import ModelError
from jax_resnet.layers.onednn import cache

__all__ = ["convolution"]


def convolution(config: DoctorConfig) -> Iterator[Finding]:
    """The convolution in use; compiles the extension where no program has before."""
    folder = cache.cache_folder()
    try:
        kept, damaged = len(list(folder.glob("*.so"))), cache.damaged(folder)
    except OSError as error:
        yield note("extension", f"{folder}: {error.strerror}", "name another folder by JAX_RESNET_CACHE")
        kept, damaged = 0, []
    for path in damaged:
        yield note("extension", f"{path} is damaged", "nothing to do: it is compiled again when it is needed")
    try:
        info = layers.info()
    except ModelError as error:
        yield problem("convolution", str(error), "set JAX_RESNET_CONV to one of these, or unset it")
        return
    values = {"in_use": info.in_use, "reason": info.reason}
    text = str(info).removeprefix("convolution: ")
    if info.requested == "onednn" and info.in_use != "onednn":
        yield problem(
            "convolution", text, "remove what keeps it from oneDNN, or unset JAX_RESNET_CONV", **values
        )
    elif info.backend == "cpu" and info.requested == "auto" and info.in_use != "onednn":
        yield note("convolution", f"{text}: right, but slower", advice(info.reason), **values)
    else:
        yield ok("convolution", text, **values)
    if info.in_use == "onednn":
        now = len(list(folder.glob("*.so")))
        news = "" if now == kept - len(damaged) else ", compiled just now"
        yield ok("extension", f"in {folder}: {now} kept, intact{news}")
    yield ok("malloc", malloc_state())


def advice(reason: str) -> str:
    """What makes oneDNN usable, by the reason why it is not."""
    if "not installed" in reason:
        return "pip install -e '.[cpu]'"
    if "[Errno" in reason:
        return "name a folder that can be written by JAX_RESNET_CACHE"
    if "compiler" in reason:
        return "install a C++ compiler, as by apt-get install g++"
    if "wheels for" in reason:
        return "nothing to do: there are no wheels of oneDNN for this system"
    return "see jax_resnet/layers/README.md"
