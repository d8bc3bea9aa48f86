"""The shape of a decision cell: what stays when names, numbers, comments and layout are changed.

Two cells of one shape ask one question, however they are dressed; the ledger charges them together.
"""

import ast
import hashlib
from functools import lru_cache


@lru_cache(maxsize=256)
def shape_hash(source: str) -> str:
    """Return SHA-256 over the shape of a strategy cell, hex; of the text if it does not parse.

    Dropped are layout, comments, docstrings, annotations, the values of numbers and the spelling of
    every name that is not an attribute of `xp`. Kept are operators, calls, order and texts such as
    the names of features.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return hashlib.sha256(source.encode()).hexdigest()
    return hashlib.sha256(_text(_Plain().visit(tree)).encode()).hexdigest()


def _text(node: object) -> str:
    """Write a tree down; empty fields are left out, as Python's versions differ in them."""
    if isinstance(node, list):
        return "[" + ",".join(map(_text, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [
        f"{name}={_text(value)}"
        for name, value in ast.iter_fields(node)
        if not (value is None or value == [] or isinstance(value, ast.expr_context))
        or isinstance(node, ast.Constant)
    ]
    return f"{type(node).__name__}({','.join(fields)})"


class _Plain(ast.NodeTransformer):
    """Replace what can be respelled by its place."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {"xp": "xp"}

    def _plain(self, name: str) -> str:
        return self._names.setdefault(name, f"name{len(self._names)}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Number names in order of first appearance."""
        return ast.Name(id=self._plain(node.id), ctx=ast.Load())

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """Number arguments alike, without their annotation."""
        return ast.arg(arg=self._plain(node.arg))

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Keep what is called on xp; number the rest, such as the names of inputs."""
        ours = not (isinstance(node.value, ast.Name) and node.value.id == "xp")
        attribute = self._plain(node.attr) if ours else node.attr
        return ast.Attribute(value=self.visit(node.value), attr=attribute, ctx=ast.Load())

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Drop the value of a number; keep texts, truth values and None."""
        number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
        return ast.Constant(value=0 if number else node.value)

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        """Number keys that are texts as names: they name inputs and parameters."""
        keys: list[ast.expr | None] = []
        for key in node.keys:
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                keys.append(ast.Constant(value=self._plain(key.value)))
            else:
                keys.append(None if key is None else self.visit(key))
        return ast.Dict(keys=keys, values=[self.visit(value) for value in node.values])

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Number the function's name; drop docstring, decorators' layout and annotations."""
        body = node.body
        if ast.get_docstring(node, clean=False) is not None:
            body = body[1:] or [ast.Pass()]
        return ast.FunctionDef(
            name=self._plain(node.name),
            args=self.visit(node.args),
            body=[self.visit(statement) for statement in body],
            decorator_list=[self.visit(one) for one in node.decorator_list],
            returns=None,
        )

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """An annotated assignment is an assignment."""
        if node.value is None:
            return ast.Pass()
        return ast.Assign(targets=[self.visit(node.target)], value=self.visit(node.value))

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        """A text that stands alone is a comment."""
        if isinstance(node.value, ast.Constant):
            return ast.Pass()
        return ast.Expr(value=self.visit(node.value))
