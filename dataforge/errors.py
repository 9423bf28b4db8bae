"""What can go wrong, as types.

    ForgeError                    the user's to mend: one line on stderr, exit code 2
    ├── ConfigError               a recipe: carries file, line and key path
    ├── InputError                a data file that cannot be read on from here
    ├── TemplateError             a chat template that breaks a law, or its own message
    ├── BaseModelError            a base model or tokenizer that is not there or does not fit
    ├── BuildError                a build folder that is missing, incomplete or changed
    ├── AdapterError              an adapter that is missing or belongs to another base model
    └── TrainingError             a training run that cannot go on

A fault in one record is not an exception but a `records.Reject`. Anything else that is raised is a bug of
ours and keeps its traceback.
"""


class ForgeError(Exception):
    """The user can mend this; the message names the place and the way out."""


class ConfigError(ForgeError):
    """A recipe that does not say what it must, or says what it must not."""


class InputError(ForgeError):
    """An input file that is missing, empty or broken beyond one record."""


class TemplateError(ForgeError):
    """A chat template that cannot be loaded or breaks one of its laws."""


class BaseModelError(ForgeError):
    """A base model or its tokenizer that is missing or does not fit what was built for it."""


class BuildError(ForgeError):
    """A build folder that is missing, incomplete or not what its manifest says."""


class AdapterError(ForgeError):
    """An adapter folder that is missing, incomplete or made for another base model."""


class TrainingError(ForgeError):
    """A training run that cannot start or cannot go on."""


def first_line(error: Exception) -> str:
    """What an error of a library says first, or its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
