# Each secret is a JSON object whose keys are names of settings, so that one ExternalSecret extracts them as they are.
# Generated ones are drawn ephemerally and written by write-only arguments: neither the state nor a plan holds them.

locals {
  # What people bring: Terraform makes the entry, an administrator fills it (docs/deploy.md).
  brought = {
    model   = "ALMANAC_LLM_API_KEY"
    slack   = "SLACK_BOT_TOKEN, SLACK_SIGNING_SECRET, SLACK_APP_TOKEN"
    teams   = "MicrosoftAppPassword"
    sources = "ALMANAC_CONFLUENCE_TOKEN, ALMANAC_GITHUB_TOKEN, ALMANAC_GRAPH_CLIENT_SECRET, ALMANAC_CREDENTIALS"
    tools   = "ALMANAC_TOOL_SECRETS"
  }
  generated = {
    database = "ALMANAC_DATABASE_URL, ALMANAC_READER_URL"
    queue    = "ALMANAC_REDIS_URL"
    web      = "ALMANAC_WEB_TOKEN, ALMANAC_ADMIN_TOKEN"
  }
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:Rotation is by generated_version or by hand: these are tokens of others, or need a roll-out
  for_each = merge(local.brought, local.generated)

  name                    = "${var.name}/${each.key}"
  description             = each.value
  kms_key_id              = var.data_key_arn
  recovery_window_in_days = var.recovery_days
}

ephemeral "aws_secretsmanager_random_password" "this" {
  for_each = var.generate ? toset(["owner", "reader", "web", "admin"]) : toset([])

  password_length     = 40
  exclude_punctuation = true # they stand in URLs
}

resource "aws_secretsmanager_secret_version" "database" {
  count = var.generate ? 1 : 0

  secret_id = aws_secretsmanager_secret.this["database"].id
  secret_string_wo = jsonencode({
    ALMANAC_DATABASE_URL = "postgresql://almanac:${ephemeral.aws_secretsmanager_random_password.this["owner"].random_password}@${var.database.address}:5432/almanac?${var.database.parameters}"
    ALMANAC_READER_URL   = "postgresql://almanac_web:${ephemeral.aws_secretsmanager_random_password.this["reader"].random_password}@${var.database.reader_address}:5432/almanac?${var.database.parameters}"
  })
  secret_string_wo_version = var.generated_version
}

resource "aws_secretsmanager_secret_version" "queue" {
  count = var.generate ? 1 : 0

  secret_id                = aws_secretsmanager_secret.this["queue"].id
  secret_string_wo         = jsonencode({ ALMANAC_REDIS_URL = var.redis_url })
  secret_string_wo_version = 1 # the token is rotated by hand (docs/deploy.md), and stays as it was put then
}

resource "aws_secretsmanager_secret_version" "web" {
  count = var.generate ? 1 : 0

  secret_id = aws_secretsmanager_secret.this["web"].id
  secret_string_wo = jsonencode({
    ALMANAC_WEB_TOKEN   = ephemeral.aws_secretsmanager_random_password.this["web"].random_password
    ALMANAC_ADMIN_TOKEN = ephemeral.aws_secretsmanager_random_password.this["admin"].random_password
  })
  secret_string_wo_version = var.generated_version
}
