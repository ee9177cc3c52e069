"""One small tree of errors. Each carries one plain sentence that may be shown to a person."""


class AlmanacError(Exception):
    """An expected failure. ``str(error)`` is one sentence, free of secrets."""


class SettingsError(AlmanacError):
    """A setting is missing or wrong; the sentence names it."""


class AlreadyRunning(AlmanacError):
    """Another Almanac holds the home folder or the port."""


class NotRunning(AlmanacError):
    """A command needs a running Almanac and found none."""


class DatabaseUnavailable(AlmanacError):
    """Postgres cannot be reached, lacks pgvector, or is not migrated."""


class QueueUnavailable(AlmanacError):
    """Valkey or Redis cannot be reached."""


class DocumentUnreadable(AlmanacError):
    """One file could not be turned into text; the sentence is the reason, without the path."""


class ModelError(AlmanacError):
    """The language model did not answer."""


class ModelTimeout(ModelError):
    """The language model did not answer within its deadline."""


class QuestionRejected(AlmanacError):
    """The question cannot be answered as asked (empty, too long); the sentence says why."""


class NotFound(AlmanacError):
    """The thing that was named does not exist, or the asker may not see it."""
