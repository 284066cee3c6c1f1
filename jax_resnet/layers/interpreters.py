"""The parts of JAX that define primitives, checked once at import, and one function that uses them.

JAX makes no promise about the names in ``jax.interpreters`` and ``jax.extend``: a new version may move any
of them. Where one is missing, ``PROBLEM`` names it and the layers use ``jax.lax`` alone: the same results,
slower on CPU.
"""

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import jax

__all__ = ["NEEDED", "PROBLEM", "TESTED", "define_primitive"]

TESTED = "0.10 to 0.12"
# Only some versions of jax declare its attributes to type checkers.
_config: Any = jax.config
NEEDED = {
    "jax.extend.core": ("Primitive",),
    "jax.interpreters.ad": (
        "Zero",
        "defbilinear",
        "deflinear2",
        "instantiate_zeros",
        "is_undefined_primal",
        "primitive_jvps",
        "primitive_transposes",
    ),
    "jax.interpreters.batching": ("primitive_batchers",),
    "jax.interpreters.mlir": ("SPMDAxisContext", "ShardingContext", "lower_fun", "register_lowering"),
}


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _missing_name() -> str | None:
    for module, names in NEEDED.items():
        for name in names:
            if not hasattr(_module(module), name):
                return f"{module}.{name}"
    return None


_missing = _missing_name()
PROBLEM: str | None = _missing and (
    f"jax {jax.__version__} has no {_missing}, which the fast layers need: they were tested with jax {TESTED}"
)
core, ad = _module("jax.extend.core"), _module("jax.interpreters.ad")
batching, mlir = _module("jax.interpreters.batching"), _module("jax.interpreters.mlir")


def define_primitive(
    name: str,
    *,
    multiple_results: bool,
    abstract: Callable[..., Any],
    plain: Callable[..., Any],
    evaluate: Callable[..., Any] | None = None,
    batch: Callable[..., Any] | None = None,
    meaning: Callable[..., Any] | None = None,
    lower_cpu: Callable[..., Any] | None = None,
) -> Any:
    """Returns a new primitive with these rules; None where there is a ``PROBLEM``.

    Args:
        name: Name in jaxprs.
        multiple_results: Whether it returns a list of arrays.
        abstract: Maps the arguments' types to the results'.
        evaluate: Computes it outside of ``jit``; by default the compiled primitive, or ``plain`` where
            ``jit`` is disabled.
        batch: The rule for ``vmap``; by default that of ``meaning``.
        meaning: A function of the same arguments whose derivative the primitive gets; None for no derivative.
        plain: What the primitive means, in terms of ``jax.lax``: what it becomes on every platform.
        lower_cpu: A lowering rule to use on CPU instead.
    """
    if PROBLEM is not None:
        return None
    primitive = core.Primitive(name)
    primitive.multiple_results = multiple_results

    @functools.cache
    def jitted(**params: Any) -> Callable[..., Any]:
        return jax.jit(functools.partial(primitive.bind, **params))

    def evaluate_compiled(*args: Any, **params: Any) -> Any:
        return plain(*args, **params) if _config.jax_disable_jit else jitted(**params)(*args)

    def batch_meaning(args: Sequence[Any], dims: Sequence[Any], **params: Any) -> tuple[Any, Any]:
        results = jax.vmap(functools.partial(meaning or plain, **params), in_axes=tuple(dims))(*args)
        return results, [0] * len(results) if multiple_results else 0

    def differentiate(primals: Sequence[Any], tangents: Sequence[Any], **params: Any) -> tuple[Any, Any]:
        moving = [ad.instantiate_zeros(tangent) for tangent in tangents]
        return jax.jvp(functools.partial(meaning or plain, **params), list(primals), moving)

    primitive.def_impl(evaluate or evaluate_compiled)
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batch or batch_meaning
    if meaning is not None:
        ad.primitive_jvps[primitive] = differentiate
    mlir.register_lowering(primitive, mlir.lower_fun(plain, multiple_results=multiple_results))
    if lower_cpu is not None:
        mlir.register_lowering(primitive, lower_cpu, platform="cpu")
    return primitive
