"""Whether what is being lowered may call foreign code."""

from typing import Any

from jax.interpreters import mlir


def may_call(ctx: Any) -> bool:
    """Returns whether the program runs here, on one device or, in ``shard_map``, on one device each.

    An exported program shall run where the extension is not. And XLA cannot split a call of foreign
    code over devices: it would gather all arguments on all of them.
    """
    if ctx.module_context.lowering_parameters.for_export:
        return False
    context = ctx.module_context.axis_context
    if isinstance(context, mlir.ShardingContext):
        return context.num_devices == 1
    if isinstance(context, mlir.SPMDAxisContext):
        return context.manual_axes == frozenset(context.mesh.axis_names)
    return True
