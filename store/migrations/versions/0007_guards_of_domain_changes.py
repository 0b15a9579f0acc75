"""Guards over what became of domains: laid anew after every migration, so that a store of before needs one."""

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change no table."""
