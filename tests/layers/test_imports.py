"""The layers need jax, flax and numpy only."""

import ast
import sys
from pathlib import Path

from jax_resnet import layers

ALLOWED = {"jax", "jaxlib", "flax", "numpy", "ml_dtypes", "jax_resnet", "problem"}
SHARED = ("layers", "errors", "_text", "_files", "_malloc")


def test_the_layers_import_jax_flax_numpy_and_the_shared_helpers_only():
    for path in Path(layers.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in names:
                top, _, rest = name.partition(".")
                assert top in ALLOWED | set(sys.stdlib_module_names), f"{path.name} imports {name}"
                assert top != "jax_resnet" or rest.startswith(SHARED), f"{path.name} imports {name}"
                assert "_src" not in name, f"{path.name} imports {name}"
