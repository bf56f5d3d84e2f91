"""Everything interpreto raises or warns about.

InterpretoError
├── InputError        what is explained: texts, ids, encodings, chats, spans
├── TargetError       what is explained about it: classes, names, counts
├── OptionError       a method's or an explainer's options
├── TokenizerError    a tokenizer that lacks what an option needs
├── ModelError        a model that cannot be run or read as asked
│   └── TaskError     a model whose kind of output is not known or not covered
├── EndpointError     a server that cannot be reached, or sends something else than asked for
├── EngineError       workers that died while they computed a data set
├── JudgeError        a judge of labels that is spent, or worse than chance
└── FileError         a file that is none of ours, is damaged, or cannot be written

InterpretoWarning
├── CompletenessWarning    an integral that needs more steps
├── EstimateWarning        an estimate with less than it needs
├── FailureWarning         a method or metric of a benchmark that raised an exception
├── MismatchWarning        explanations that are judged by another model than was explained
├── OutlierWarning         few rows of activations that hold most of their variance
└── OptimizationWarning    an optimization that a model does not allow; the numbers are the same, and take longer
"""


class InterpretoError(Exception):
    """Base of every error that interpreto raises itself."""


class InputError(InterpretoError, ValueError):
    """The inputs cannot be explained as they are."""


class TargetError(InterpretoError, ValueError):
    """The targets do not fit the inputs or the model."""


class OptionError(InterpretoError, ValueError):
    """An option is unknown, or its value is out of range."""


class TokenizerError(InterpretoError, ValueError):
    """The tokenizer lacks a token or an ability that was asked of it."""


class ModelError(InterpretoError, ValueError):
    """The model cannot be run, or gave an output that cannot be read."""


class TaskError(ModelError):
    """The model's task is unknown, or not the one that was asked for."""


class EndpointError(InterpretoError, RuntimeError):
    """A server cannot be reached, refuses a request, or answers something else than was asked for.

    Args:
        message: What was asked, what came back, and what to do.
        status: HTTP status of the last answer; None: there was none, or it could not be read.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class EngineError(InterpretoError, RuntimeError):
    """The workers that compute a data set ended before it was complete."""


class JudgeError(InterpretoError, RuntimeError):
    """A judge of labels cannot be asked: its budget is spent, or its answers to known cases are worse than chance."""


class FileError(InterpretoError, ValueError, OSError):
    """The file does not hold what was asked for, or cannot be written."""


class InterpretoWarning(UserWarning):
    """Base of every warning that interpreto gives itself."""


class CompletenessWarning(InterpretoWarning):
    """Attributions do not sum to the score gap that they should explain."""


class EstimateWarning(InterpretoWarning):
    """An estimate rests on fewer samples than it needs."""


class FailureWarning(InterpretoWarning):
    """A method or a metric raised an exception, and the rest of the table is kept."""


class MismatchWarning(InterpretoWarning):
    """Explanations are judged by another model, or in another state of it, than was explained."""


class OutlierWarning(InterpretoWarning):
    """Few rows of activations hold most of their variance."""


class OptimizationWarning(InterpretoWarning):
    """An optimization cannot be used on this model; the numbers are the same, and take longer."""
