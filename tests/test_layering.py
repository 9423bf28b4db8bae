"""Imports only point left: the order in which a reader meets the modules is the order of this list."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

DATAFORGE = [
    "errors",
    "config",
    "shards",
    "pair_shards",
    "data_files",
    "folders",
    "arrow_bytes",
    "bases",
    "records",
    "seeds",
    "text",
    "columns",
    "fields",
    "message_objects",
    "opinions",
    "dialogue",
    "html_remnants",
    "minhash",
    "left_to_right",
    "sandbox",
    "task_templates",
    "promptsource_file",
    "request_templates",
    "llm",
    "standings",
    "verdicts",
    "expressions",
    "languages",
    "refusals",
    "prompt_set",
    "comparisons",
    "made_texts",
    "masks",
    "translations",
    "instruction_filters",
    "personal",
    "overlap",
    "votes",
    "rouge",
    "quotes",
    "self_contained",
    "question_replies",
    "context",
    "record_keys",
    "charsets",
    "content",
    "compression",
    "assembly",
    "html_markdown",
    "xml_rows",
    "stack_dump",
    "stack_threads",
    "dump_lines",
    "reddit_rules",
    "reddit_refusals",
    "reddit_rows",
    "reddit_threads",
    "arrow_rows",
    "json_lines",
    "json_stream",
    "delimited",
    "formats",
    "sources",
    "steps",
    "shapes",
    "exports",
    "components",
    "source_entry",
    "reading",
    "places",
    "data_settings",
    "recipe",
    "readers",
    "values",
    "unpack",
    "templates",
    "traits",
    "control",
    "answers",
    "render",
    "laws",
    "flat_ids",
    "text_ids",
    "headers",
    "tokenize",
    "diversity",
    "chat_format",
    "template_check",
    "validate",
    "pair_measures",
    "report",
    "card",
    "chat_table",
    "record_table",
    "pair_table",
    "row_table",
    "shard_writer",
    "pack",
    "kinds",
    "tally",
    "line",
    "gathers",
    "stages",
    "remote",
    "hub",
    "inputs",
    "tasks",
    "unpack_tasks",
    "frames",
    "intake",
    "forecast",
    "asking",
    "gather_tasks",
    "reject_share",
    "schedule",
    "processes",
    "engines",
    "publish",
    "heads",
    "sample",
    "disk",
    "work_index",
    "plan",
    "build",
    "explain",
    "check_tables",
    "check",
    "row_compare",
    "deep",
    "export",
    "upload",
    "pair_view",
    "preview",
    "preview_style",
    "preview_page",
    "shape_guess",
    "label_guess",
    "table_guess",
    "init_recipe",
    "cli",
]
SOURCES_MAY_IMPORT = {
    *("config", "records", "text", "columns", "fields", "sandbox"),
    *("message_objects", "opinions", "dialogue", "html_remnants"),
    *("assembly", "content", "compression", "errors", "html_markdown", "stack_dump", "stack_threads"),
    *("reddit_rules", "reddit_threads"),
}
FORMATS_MAY_IMPORT = {"config", "charsets", "content", "arrow_rows", "json_lines", "json_stream", "delimited"}
STEPS_MAY_IMPORT = {
    *(
        "comparisons",
        "config",
        "context",
        "errors",
        "expressions",
        "instruction_filters",
        "languages",
        "llm",
        "made_texts",
    ),
    *("masks", "minhash", "opinions", "overlap", "personal", "prompt_set", "promptsource_file", "question_replies"),
    *("quotes", "record_keys", "records", "refusals", "request_templates", "rouge", "seeds", "self_contained"),
    *("standings", "task_templates", "text", "translations", "verdicts", "votes"),
}
EXPORTS_MAY_IMPORT = {"records", "shapes"}
TRAINKIT_MAY_IMPORT = {"errors", "config", "seeds", "shards"}
HEAVY = {"torch", "transformers", "peft", "trainkit"}


def modules(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if "_data" not in path.parts)


def imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    """The dotted names that a module imports, those inside functions too unless told otherwise."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def station(dotted: str) -> str:
    return dotted.split(".")[1]


def station_of(path: Path) -> str:
    return path.relative_to(ROOT / "dataforge").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules("dataforge"), ids=str)
def test_dataforge_imports_point_left(path: Path) -> None:
    here = station_of(path)
    if here in ("__init__", "__main__"):
        return
    assert here in DATAFORGE, f"{here} has no place in the order of the line yet"
    for dotted in imports(path):
        if dotted.startswith("dataforge."):
            assert DATAFORGE.index(station(dotted)) <= DATAFORGE.index(here), f"{path} imports {dotted}"


@pytest.mark.parametrize("path", modules("dataforge"), ids=str)
def test_dataforge_loads_nothing_heavy(path: Path) -> None:
    for dotted in imports(path):
        allowed = station_of(path) == "cli" and dotted.startswith("trainkit")
        assert dotted.split(".")[0] not in HEAVY or allowed, f"{path} imports {dotted}"


@pytest.mark.parametrize("path", modules("dataforge/cli"), ids=str)
def test_commands_load_only_click_until_they_are_called(path: Path) -> None:
    for dotted in imports(path, top_level_only=True):
        light = not dotted.startswith(("dataforge.", "trainkit.")) or dotted.startswith(
            ("dataforge.errors", "dataforge.cli._questions")  # which is held to it too
        )
        assert light, f"{path} imports {dotted} before it is called"


@pytest.mark.parametrize("path", modules("dataforge/sources"), ids=str)
def test_sources_see_records_and_text_and_no_sibling(path: Path) -> None:
    for dotted in imports(path):
        if dotted.startswith("dataforge."):
            assert station(dotted) in SOURCES_MAY_IMPORT, f"{path} imports {dotted}"


@pytest.mark.parametrize("path", modules("dataforge/formats"), ids=str)
def test_formats_see_content_and_no_sibling(path: Path) -> None:
    for dotted in imports(path):
        if dotted.startswith("dataforge."):
            assert station(dotted) in FORMATS_MAY_IMPORT, f"{path} imports {dotted}"


@pytest.mark.parametrize("path", modules("dataforge/steps"), ids=str)
def test_steps_see_records_and_no_sibling(path: Path) -> None:
    for dotted in imports(path):
        if dotted.startswith("dataforge."):
            assert station(dotted) in STEPS_MAY_IMPORT, f"{path} imports {dotted}"


@pytest.mark.parametrize("path", modules("dataforge/exports"), ids=str)
def test_exports_see_records_and_no_sibling(path: Path) -> None:
    for dotted in imports(path):
        if dotted.startswith("dataforge."):
            assert station(dotted) in EXPORTS_MAY_IMPORT, f"{path} imports {dotted}"


@pytest.mark.parametrize("path", modules("trainkit"), ids=str)
def test_trainkit_sees_of_dataforge_only_the_contract(path: Path) -> None:
    for dotted in imports(path):
        if dotted.startswith("dataforge."):
            assert station(dotted) in TRAINKIT_MAY_IMPORT, f"{path} imports {dotted}"


@pytest.mark.parametrize("path", modules("trainkit/objectives"), ids=str)
def test_objectives_import_no_sibling(path: Path) -> None:
    siblings = {f"trainkit.objectives.{other.stem}" for other in modules("trainkit/objectives") if other != path}
    assert not [dotted for dotted in imports(path) if dotted in siblings or dotted.rsplit(".", 1)[0] in siblings]


@pytest.mark.parametrize("path", modules("dataforge") + modules("trainkit"), ids=str)
def test_a_module_fits_on_a_few_screens(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 310
