"""Every text that Teams shows and that does not come from the assistant."""

LOOKING = "Looking in the documents…"
MORE = "…"  # stands for the next part of a long answer until the part itself takes its place
HELP = (
    "Ask a question in one sentence, for example: *How do I roll back a deployment?* "
    "The answer comes from the company's documents and names its sources."
)
WELCOME = (
    "Hello, I am Almanac. I answer engineering questions from the company's own documents, with the sources.\n\n"
    "Write your question here; in a channel or a group chat, mention me with it."
)
NEAREST = "The nearest sources:"
SOURCES = "Sources:"
