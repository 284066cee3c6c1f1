"""Whether the operation that JAX is lowering may call the extension."""

from typing import Any

from jax_resnet.layers.interpreters import mlir

__all__ = ["may_call_extension"]


def may_call_extension(ctx: Any) -> bool:
    """Returns whether the program runs here, on one device or, in ``shard_map``, on one device each.

    An exported program must run where the extension is not. And XLA cannot split a call of foreign code
    over devices: it would gather all arguments on each of them. A context that this version of JAX
    describes in another way does not call the extension.
    """
    try:
        if ctx.module_context.lowering_parameters.for_export:
            return False
        context = ctx.module_context.axis_context
        if isinstance(context, mlir.ShardingContext):
            return context.num_devices == 1
        if isinstance(context, mlir.SPMDAxisContext):
            return context.manual_axes == frozenset(context.mesh.axis_names)
    except AttributeError:
        return False
    return True
