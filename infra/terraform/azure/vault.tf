# Key Vault, by roles. Each secret is a JSON object whose keys are names of settings, so that one ExternalSecret extracts
# them as they are. What is drawn here is written by write-only arguments: neither the state nor a plan holds it.

resource "azurerm_key_vault" "this" {
  #checkov:skip=CKV_AZURE_189:Public only for operator_cidrs, which Terraform has to write from
  name                          = "${local.plain}-${var.unique}"
  location                      = azurerm_resource_group.this.location
  resource_group_name           = azurerm_resource_group.this.name
  tenant_id                     = data.azurerm_client_config.this.tenant_id
  sku_name                      = "standard"
  rbac_authorization_enabled    = true
  purge_protection_enabled      = true
  soft_delete_retention_days    = 90
  public_network_access_enabled = length(var.operator_cidrs) > 0
  tags                          = local.tags

  network_acls {
    default_action = "Deny"
    bypass         = "AzureServices"
    ip_rules       = var.operator_cidrs
  }
}

# Whoever applies writes the secrets and the first certificate.
resource "azurerm_role_assignment" "operator" {
  for_each = toset(["Key Vault Secrets Officer", "Key Vault Certificates Officer"])

  scope                = azurerm_key_vault.this.id
  role_definition_name = each.key
  principal_id         = data.azurerm_client_config.this.object_id
}

locals {
  database_host = azurerm_postgresql_flexible_server.this.fqdn
  drawn = {
    master = {
      username = "almanac_master"
      password = ephemeral.random_password.this["master"].result
    }
    database = {
      ALMANAC_DATABASE_URL = "postgresql://almanac:${ephemeral.random_password.this["owner"].result}@${local.database_host}:5432/almanac?${var.database_parameters}"
      ALMANAC_READER_URL   = "postgresql://almanac_web:${ephemeral.random_password.this["reader"].result}@${local.database_host}:5432/almanac?${var.database_parameters}"
    }
    web = {
      ALMANAC_WEB_TOKEN   = ephemeral.random_password.this["web"].result
      ALMANAC_ADMIN_TOKEN = ephemeral.random_password.this["admin"].result
    }
    queue = {
      ALMANAC_REDIS_URL = "rediss://:${azurerm_managed_redis.this.default_database[0].primary_access_key}@${azurerm_managed_redis.this.hostname}:${azurerm_managed_redis.this.default_database[0].port}/0"
    }
  }

  # What people bring: fill them with `az keyvault secret set` (docs/deploy.md); an empty object until then.
  brought = {
    model   = "ALMANAC_LLM_API_KEY"
    slack   = "SLACK_BOT_TOKEN, SLACK_SIGNING_SECRET, SLACK_APP_TOKEN"
    teams   = "MicrosoftAppPassword"
    sources = "ALMANAC_CONFLUENCE_TOKEN, ALMANAC_GITHUB_TOKEN, ALMANAC_GRAPH_CLIENT_SECRET, ALMANAC_CREDENTIALS"
    tools   = "ALMANAC_TOOL_SECRETS"
  }
}

resource "azurerm_key_vault_secret" "drawn" {
  #checkov:skip=CKV_AZURE_41:They are changed by secrets_version, and do not expire while people sleep
  for_each = toset(["master", "database", "web", "queue"])

  name             = each.key
  key_vault_id     = azurerm_key_vault.this.id
  content_type     = "application/json"
  value_wo         = jsonencode(local.drawn[each.key])
  value_wo_version = var.secrets_version
  tags             = local.tags

  depends_on = [azurerm_role_assignment.operator]
}

resource "azurerm_key_vault_secret" "brought" {
  #checkov:skip=CKV_AZURE_41:When these expire is up to those who issue them
  for_each = local.brought

  name             = each.key
  key_vault_id     = azurerm_key_vault.this.id
  content_type     = "application/json: ${each.value}"
  value_wo         = "{}"
  value_wo_version = 1
  tags             = local.tags

  depends_on = [azurerm_role_assignment.operator]
}

# The gateway needs a certificate before you have one: a self-signed one, until yours is imported under its name.
resource "azurerm_key_vault_certificate" "this" {
  name         = "gateway"
  key_vault_id = azurerm_key_vault.this.id
  tags         = local.tags

  certificate_policy {
    issuer_parameters {
      name = "Self"
    }
    key_properties {
      exportable = true
      key_type   = "RSA"
      key_size   = 2048
      reuse_key  = false
    }
    secret_properties {
      content_type = "application/x-pkcs12"
    }
    x509_certificate_properties {
      subject            = "CN=${var.domain}"
      validity_in_months = 12
      key_usage          = ["digitalSignature", "keyEncipherment"]
      subject_alternative_names {
        dns_names = [var.domain]
      }
    }
  }

  lifecycle {
    ignore_changes = [certificate_policy]
  }

  depends_on = [azurerm_role_assignment.operator]
}
