"""A proof, read off a chat template's syntax tree, that it writes a conversation from left to right.

A template of the shape `A {% for message in messages %} body {% endfor %} B` writes what A writes, the body once for
each message, and what B writes. Where A looks at no message but the first, the body at no later message than its own
and at nothing that tells how many there are, and B at nothing that the body changes, the text up to message k is the
rendering of the messages before k, and what B writes is the same for every k. One rendering with a mark at the head
of the body then stands for all of them.

Whatever is not known to be harmless ends the proof, never the build: other templates are rendered once for each
prompt.
"""

from collections.abc import Iterator, Set

from jinja2 import nodes

MARK = "\ue007"
"""A private-use character; a conversation that holds it is rendered the long way."""

LOOP_LOOKS_BACK = frozenset({"first", "index", "index0", "previtem"})
"""What a loop knows when a message comes up."""
_UNPROVABLE = (
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
    nodes.Extends,
    nodes.Block,
    nodes.Macro,
    nodes.FilterBlock,
    nodes.AssignBlock,
    nodes.ScopedEvalContextModifier,
    nodes.EvalContextModifier,
)


def mark(tree: nodes.Template) -> bool:
    """Put `MARK` before the body of the loop over the messages; False, and no change, where the proof fails."""
    renamed = [node for node in tree.body if _renames_messages(node)]
    messages = {"messages", *(name.name for node in renamed for name in _names(node))}
    stored = [name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"]
    loops = [node for node in tree.body if isinstance(node, nodes.For) and _is_one_of(node.iter, messages)]
    if len(loops) != 1 or any(isinstance(node, _UNPROVABLE) for node in tree.find_all(nodes.Node)):
        return False
    (loop,) = loops
    if loop.test or loop.else_ or loop.recursive or not isinstance(loop.target, nodes.Name):
        return False
    if loop.target.name == "loop" or any(stored.count(name) > (name != "messages") for name in messages):
        return False
    at = tree.body.index(loop)
    before, after = [node for node in tree.body[:at] if node not in renamed], tree.body[at + 1 :]
    looked_at = [*before, *loop.body]
    if "add_generation_prompt" in {name.name for node in looked_at for name in _names(node)}:
        return False
    if not (_reads_only_the_first(looked_at, messages) and all(_looks_back(node) for node in loop.body)):
        return False
    if {name.name for node in after for name in _names(node)} & {*stored, *_namespaces(tree), "loop", *messages}:
        return False
    loop.body.insert(0, nodes.Output([nodes.TemplateData(MARK)]))
    return True


def _names(node: nodes.Node) -> Iterator[nodes.Name]:
    if isinstance(node, nodes.Name):
        yield node
    yield from node.find_all(nodes.Name)


def _is_one_of(node: nodes.Node, names: Set[str]) -> bool:
    return isinstance(node, nodes.Name) and node.name in names


def _renames_messages(node: nodes.Node) -> bool:
    """`{% set loop_messages = messages %}`."""
    return (
        isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name) and _is_one_of(node.node, {"messages"})
    )


def _namespaces(tree: nodes.Template) -> set[str]:
    return {reference.name for reference in tree.find_all(nodes.NSRef)}


def _reads_only_the_first(body: list[nodes.Node], messages: Set[str]) -> bool:
    """Every mention of the messages is `messages[0]`."""
    mentions = sum(name.name in messages for node in body for name in _names(node))
    first = sum(
        _is_one_of(item.node, messages) and isinstance(item.arg, nodes.Const) and item.arg.value == 0
        for node in body
        for item in node.find_all(nodes.Getitem)
    )
    return bool(mentions == first)


def _looks_back(node: nodes.Node) -> bool:
    """`loop` of the loop over the messages is asked only for what is known when a message comes up."""
    if isinstance(node, nodes.For):
        # Inside, `loop` is the inner loop's own; what it runs over and filters by still sees the outer one.
        return all(_looks_back(part) for part in (node.iter, *([node.test] if node.test else ()), *node.else_))
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name) and node.node.name == "loop":
        return bool(node.attr in LOOP_LOOKS_BACK)
    if isinstance(node, nodes.Name) and node.name == "loop":
        return False
    return all(_looks_back(child) for child in node.iter_child_nodes())
