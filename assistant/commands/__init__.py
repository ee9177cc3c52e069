"""The commands of the chat platforms: one set, rendered by each front end in its own way."""

from assistant.commands.commands import Commands
from assistant.commands.replies import Caller, Confirm, Described, Form, Reply, RunState, Table, UploadedFile

__all__ = ["Caller", "Commands", "Confirm", "Described", "Form", "Reply", "RunState", "Table", "UploadedFile"]
