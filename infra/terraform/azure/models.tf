# Azure OpenAI and the bot's registration, where they are wanted.

resource "azurerm_cognitive_account" "openai" {
  #checkov:skip=CKV_AZURE_236:Almanac's client signs in with a key, which lies in the vault
  #checkov:skip=CKV2_AZURE_22:Encrypted by the platform's keys
  #checkov:skip=CKV_AZURE_247:What it may fetch is restricted to nothing
  count = var.openai == null ? 0 : 1

  name                          = "${var.name}-${var.unique}"
  location                      = azurerm_resource_group.this.location
  resource_group_name           = azurerm_resource_group.this.name
  kind                          = "OpenAI"
  sku_name                      = "S0"
  custom_subdomain_name         = "${var.name}-${var.unique}"
  local_auth_enabled            = true
  public_network_access_enabled = false
  # It answers what it is asked, and fetches nothing by itself.
  outbound_network_access_restricted = true
  fqdns                              = []
  tags                               = local.tags

  identity {
    type = "SystemAssigned"
  }

  network_acls {
    default_action = "Deny"
  }
}

resource "azurerm_cognitive_deployment" "answers" {
  count = var.openai == null ? 0 : 1

  name                   = "answers"
  cognitive_account_id   = azurerm_cognitive_account.openai[0].id
  version_upgrade_option = "NoAutoUpgrade" # another model is another evaluation

  model {
    format  = "OpenAI"
    name    = var.openai.model
    version = var.openai.version
  }

  sku {
    name     = var.openai.sku
    capacity = var.openai.capacity
  }
}

resource "azurerm_bot_service_azure_bot" "this" {
  #checkov:skip=CKV_AZURE_249:Teams reaches the registration from the internet
  count = var.teams == null ? 0 : 1

  name                          = "${var.name}-${var.unique}"
  location                      = "global"
  resource_group_name           = azurerm_resource_group.this.name
  display_name                  = "Almanac"
  sku                           = "F0" # Teams is a standard channel, and free
  microsoft_app_id              = var.teams.app_id
  microsoft_app_type            = "SingleTenant"
  microsoft_app_tenant_id       = var.teams.tenant_id
  endpoint                      = "https://${var.domain}/api/messages"
  local_authentication_enabled  = false
  streaming_endpoint_enabled    = false
  public_network_access_enabled = true
  tags                          = local.tags
}

resource "azurerm_bot_channel_ms_teams" "this" {
  count = var.teams == null ? 0 : 1

  bot_name            = azurerm_bot_service_azure_bot.this[0].name
  location            = azurerm_bot_service_azure_bot.this[0].location
  resource_group_name = azurerm_resource_group.this.name
  calling_enabled     = false
}
