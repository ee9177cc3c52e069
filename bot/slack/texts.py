"""Everything Slack users read that is not an answer."""

HELP = (
    "Ask me a question about your team's documents, for example: How do I roll back a deploy? "
    "I answer with links to the sources."
)
LOOKING = "is looking in the documents..."
NEAREST = "These may help:"
SOURCES = "Sources"
EMPTY = "There is no text in this answer."
OUTSIDERS = (
    "People from another company can read this channel, so only documents shared with the channel were searched."
)

GOOD = "Good answer"
BAD = "Not helpful"
GOOD_LABEL = "Mark this answer as good"
BAD_LABEL = "Mark this answer as not helpful"

VOTED_UP = "Thanks - your vote was counted."
VOTED_DOWN = "Thanks - noted as not helpful."
VOTE_UNKNOWN = "This answer is no longer stored, so your vote was not counted."
VOTE_NOT_STORED = "Your vote could not be stored. Please try again in a minute."
