"""Requests to language models as Jinja files: what is asked, in the words of one language.

    templates/ask/<step>/<name>.<language>.jinja
        {% block system %}You write questions.{% endblock %}
        {% block user %}{{ passage }}{% endblock %}

The block `system` may be missing. Worked examples, which small models need to keep to a form, stand as turns before
the request: `{% block user_1 %}` and `{% block assistant_1 %}`, `user_2` and so on. Blanks around a block are cut off,
and a field that is missing is an error. A recipe may name a folder of its own with the same names in it, whose files
then win.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from dataforge import data_files, sandbox
from dataforge.errors import TemplateError, first_line

BLOCKS = ("system", "user")
_EXAMPLE = re.compile(r"(user|assistant)_([1-9])")


class RequestTemplate:
    """One compiled file.

    Raises `TemplateError` where the file is not Jinja, or holds other blocks or none for the user.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        environment = sandbox.task_environment(_written)
        try:
            self._template = environment.from_string(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(f"{path}: cannot be read ({error})") from None
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"{path}:{error.lineno}: {error.message}") from None
        known = self._template.blocks
        numbers = sorted({match[2] for match in map(_EXAMPLE.fullmatch, known) if match})
        turns = [f"{role}_{number}" for number in numbers for role in ("user", "assistant")]
        if "user" not in known or set(known) - set(BLOCKS) != set(turns):
            raise TemplateError(
                f"{path}: holds the blocks {', '.join(known) or 'none'}; it needs user, and may have system, and "
                "examples: user_1 with assistant_1, user_2 with assistant_2, ..."
            )
        self._order = [name for name in ("system", *turns, "user") if name in known]

    def messages(self, **fields: Any) -> tuple[Mapping[str, str], ...]:
        """The request with these fields. Raises `TemplateError` where one is missing or an expression fails."""
        context = self._template.new_context(fields)
        found = []
        for block in self._order:
            try:
                text = "".join(self._template.blocks[block](context)).strip()
            except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
                raise TemplateError(f"{self.path}: {first_line(error)}") from None
            if text:
                found.append({"role": block.partition("_")[0], "content": text})
        return tuple(found)


def find(kind: str, step: str, name: str, language: str, own: Path | None = None) -> Path:
    """The file of a request of the kind `ask` or `judge`, in the folder `own` or among the project's.

    Raises `TemplateError` where there is none, with those that there are.
    """
    file = f"{name}.{language}.jinja"
    folders = [*([own] if own else []), builtin(kind, step)]
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    there = sorted({path.name for folder in folders for path in folder.glob("*.jinja")})
    raise TemplateError(f"{folders[0]}: there is no {file}; there are {', '.join(there) or 'none'}")


def builtin(kind: str, step: str) -> Path:
    """The folder of the project's own requests for a step."""
    return data_files.folder("templates") / kind / step


def files(kind: str, step: str, own: Path | None = None) -> list[Path]:
    """All that decides what a step asks, sorted by name."""
    return [
        path for folder in (builtin(kind, step), *([own] if own else [])) for path in sorted(folder.glob("*.jinja"))
    ]


def _written(value: Any) -> Any:
    return value
