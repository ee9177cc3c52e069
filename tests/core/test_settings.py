"""A wrong setting stops the start with one sentence that names the variable as people write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant.errors import SettingsError
from assistant.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ``.env`` of the developer's is read."""
    monkeypatch.chdir(tmp_path)


WRONG = [
    ({"ALMANAC_PORT": "abc"}, "ALMANAC_PORT"),
    ({"ALMANAC_PORT": "70000"}, "ALMANAC_PORT"),
    ({"ALMANAC_LLM_TIMEOUT": "0"}, "ALMANAC_LLM_TIMEOUT"),
    ({"ALMANAC_LLM_TIMEOUT": "soon"}, "ALMANAC_LLM_TIMEOUT"),
    ({"ALMANAC_LEASE_SECONDS": "0.1"}, "ALMANAC_LEASE_SECONDS"),
    ({"ALMANAC_QUESTION_MAX_CHARS": "-1"}, "ALMANAC_QUESTION_MAX_CHARS"),
    ({"ALMANAC_FILE_MAX_MB": "nan"}, "ALMANAC_FILE_MAX_MB"),
    ({"ALMANAC_LOG_LEVEL": "LOUD"}, "ALMANAC_LOG_LEVEL"),
    ({"ALMANAC_TEAMS_ANONYMOUS": "perhaps"}, "ALMANAC_TEAMS_ANONYMOUS"),
    ({"ALMANAC_LLM_PRICES": "{not json"}, "ALMANAC_LLM_PRICES"),
    ({"ALMANAC_LLM_PRICES": "[1]"}, "ALMANAC_LLM_PRICES"),
    ({"ALMANAC_LLM_PRICES": '{"m": {"prompt": -1, "completion": 0}}'}, "ALMANAC_LLM_PRICES"),
    ({"ALMANAC_LLM_PRICES": '{"m": {"prompt": 1}}'}, "ALMANAC_LLM_PRICES"),
    ({"ALMANAC_LLM_BASE_URL": "http://127.0.0.1:1/v1"}, "ALMANAC_LLM_MODEL"),
    ({"ALMANAC_LLM_BASE_URL": "localhost:1/v1", "ALMANAC_LLM_MODEL": "m"}, "ALMANAC_LLM_BASE_URL"),
    ({"ALMANAC_LLM_AZURE_ENDPOINT": "https://x.example"}, "ALMANAC_LLM_AZURE_DEPLOYMENT"),
    ({"ALMANAC_PUBLIC_URL": "almanac.example"}, "ALMANAC_PUBLIC_URL"),
    ({"SLACK_API_BASE_URL": "slack.example"}, "SLACK_API_BASE_URL"),
    ({"SLACK_BOT_TOKEN": "xoxb-hidden-1"}, "SLACK_SIGNING_SECRET"),
    ({"MicrosoftAppId": "app"}, "MicrosoftAppPassword"),
    ({"MicrosoftAppType": "Tenantless"}, "MicrosoftAppType"),
    ({"ALMANAC_HOST": "0.0.0.0"}, "ALMANAC_WEB_TOKEN"),
    ({"ALMANAC_HOST": "0.0.0.0", "ALMANAC_WEB_TOKEN": "hidden-of-15-ch"}, "ALMANAC_WEB_TOKEN"),
    (
        {"ALMANAC_HOST": "0.0.0.0", "ALMANAC_WEB_TOKEN": "hidden-2-that-is-long", "ALMANAC_ADMIN_TOKEN": "hidden"},
        "ALMANAC_ADMIN_TOKEN",
    ),
    ({"ALMANAC_SERVE_HOST": "0.0.0.0", "ALMANAC_SERVE_KEY": "hidden"}, "ALMANAC_SERVE_KEY"),
    (
        {"ALMANAC_HOST": "0.0.0.0", "ALMANAC_WEB_TOKEN": "hidden-2-that-is-long", "ALMANAC_TEAMS_ANONYMOUS": "1"},
        "ALMANAC_TEAMS_ANONYMOUS",
    ),
]


@pytest.mark.parametrize(("environment", "named"), WRONG, ids=str)
def test_a_wrong_setting_is_named_in_one_sentence(
    environment: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    sentence = str(caught.value)
    assert named in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "hidden" not in sentence


@pytest.mark.parametrize(
    "environment",
    [
        {"SLACK_BOT_TOKEN": "xoxb", "SLACK_APP_TOKEN": "xapp"},
        {"SLACK_BOT_TOKEN": "xoxb", "SLACK_SIGNING_SECRET": "s"},
        {"MicrosoftAppId": "app", "MicrosoftAppType": "UserAssignedMSI"},
        {"ALMANAC_HOST": "0.0.0.0", "ALMANAC_WEB_TOKEN": "a-token-of-16-ch"},
        {"ALMANAC_HOST": "::1", "ALMANAC_TEAMS_ANONYMOUS": "1"},
        {"ALMANAC_LLM_MODEL": "gpt", "ALMANAC_LLM_PRICES": '{"gpt": {"prompt": 1, "completion": 2}}'},
        {"ALMANAC_PORT": ""},
    ],
    ids=str,
)
def test_what_belongs_together_is_accepted(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert isinstance(load_settings(), Settings)


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALMANAC_TEAMS_ALLOWED_HOSTS", " smba.example , other.example,")
    assert load_settings().teams_allowed_hosts == ("smba.example", "other.example")


def test_secrets_hide_themselves() -> None:
    secrets = {
        "database_url": "postgresql://u:hidden-1@h/d",
        "redis_url": "redis://:hidden-2@h/0",
        "web_token": "hidden-3",
        "llm_api_key": "hidden-4",
        "slack_bot_token": "hidden-5",
        "slack_signing_secret": "hidden-6",
        "slack_app_token": "hidden-7",
        "teams_app_id": "app",
        "teams_app_password": "hidden-8",
    }
    settings = load_settings(**secrets)
    assert settings.web_token is not None
    assert settings.web_token.get_secret_value() == "hidden-3"
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "hidden" not in shown


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text(
        "ALMANAC_PORT=9001\nSLACK_BOT_TOKEN='xoxb-1'\nSLACK_APP_TOKEN=xapp-1\nALMANAC_LOG_LEVEL=DEBUG\nOTHER=1\n"
    )
    monkeypatch.setenv("ALMANAC_LOG_LEVEL", "ERROR")
    settings = load_settings()
    assert (settings.port, settings.log_level) == (9001, "ERROR")
    assert settings.slack_bot_token is not None
    assert settings.slack_bot_token.get_secret_value() == "xoxb-1"


def test_a_wrong_line_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ALMANAC_PORT=many\n")
    with pytest.raises(SettingsError, match="ALMANAC_PORT"):
        load_settings()


def test_a_name_in_the_file_that_is_no_setting_is_named_with_what_may_be_meant(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ALMANAC_WEB_TOKN=0123456789abcdef0123\n")
    with pytest.raises(SettingsError, match=r"ALMANAC_WEB_TOKN in .env is no setting; is ALMANAC_WEB_TOKEN meant\?"):
        load_settings()
    (tmp_path / ".env").write_text("ALMANAC_VERSION=1.2\nPOSTGRES_PASSWORD=x\nALMANAC_SECRETS=\nalmanac_port=81\n")
    assert load_settings().port == 81


def test_the_example_file_lists_every_setting() -> None:
    example = ROOT / ".env.example"
    if not example.exists():
        pytest.skip(".env.example is not written yet")
    listed = example.read_text()
    missing = [name for name in map(variable, Settings.model_fields) if name not in listed]
    assert missing == []


def variable(name: str) -> str:
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if alias is not None else f"ALMANAC_{name.upper()}"  # type: ignore[union-attr]


def test_secrets_may_lie_in_files_named_as_their_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALMANAC_SECRETS", str(tmp_path))
    (tmp_path / "ALMANAC_WEB_TOKEN").write_text("from a file\n")
    (tmp_path / "SLACK_BOT_TOKEN").write_text("xoxb-1")
    (tmp_path / "SLACK_APP_TOKEN").write_text("xapp-1")
    (tmp_path / "ALMANAC_TOOL_SECRETS").write_text('{"catalogue": "s"}')
    (tmp_path / "kubernetes.io").mkdir()
    monkeypatch.setenv("ALMANAC_ADMIN_TOKEN", "from the environment")
    (tmp_path / "ALMANAC_ADMIN_TOKEN").write_text("unused")
    settings = load_settings()
    assert settings.web_token is not None
    assert settings.web_token.get_secret_value() == "from a file"
    assert settings.has_slack
    assert settings.tool_secrets["catalogue"].get_secret_value() == "s"
    assert settings.admin_token is not None
    assert settings.admin_token.get_secret_value() == "from the environment"


@pytest.mark.parametrize("kinds", ["ingest,!finetune", "!", "ingest,!"])
def test_kinds_of_runs_are_named_or_left_out_not_both(monkeypatch: pytest.MonkeyPatch, kinds: str) -> None:
    monkeypatch.setenv("ALMANAC_WORKER_KINDS", kinds)
    with pytest.raises(SettingsError, match="ALMANAC_WORKER_KINDS"):
        load_settings()
