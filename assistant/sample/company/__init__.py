"""The sample company's internal API, to try tools with: what runs, who is on call, what was deployed, a restart.

A process of its own (``python -m assistant.sample.company``) with its own OpenAPI document. What it tells of services
and rotations is what the sample handbook's catalogue says; what happens in it is kept in memory.
"""

from pathlib import Path

OPENAPI = Path(__file__).parent / "openapi.yaml"
TOKEN = "ALMANAC_SAMPLE_COMPANY_TOKEN"  # noqa: S105 - the variable that hands the token over
