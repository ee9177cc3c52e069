"""a question can be refused by the guard"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0006"
branch_labels = None
depends_on = None

BEFORE = (
    "answered", "not_in_documents", "hidden_by_permissions", "over_limit", "waiting_for_approval", "stopped", "failed",
)  # fmt: skip


def _allow(outcomes: tuple[str, ...]) -> None:
    op.drop_constraint("outcome", "answers", type_="check")
    listed = ", ".join(f"'{outcome}'" for outcome in outcomes)
    op.create_check_constraint("outcome", "answers", f"outcome IN ({listed})")


def upgrade() -> None:
    _allow((*BEFORE, "refused"))


def downgrade() -> None:
    op.execute("UPDATE answers SET outcome = 'failed' WHERE outcome = 'refused'")
    _allow(BEFORE)
