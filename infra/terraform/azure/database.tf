# Postgres with pgvector, inside the network only. The administrator's password is written and never read back.

resource "azurerm_private_dns_zone" "database" {
  name                = "${var.name}.private.postgres.database.azure.com"
  resource_group_name = azurerm_resource_group.this.name
  tags                = local.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "database" {
  name                  = "database"
  resource_group_name   = azurerm_resource_group.this.name
  private_dns_zone_name = azurerm_private_dns_zone.database.name
  virtual_network_id    = azurerm_virtual_network.this.id
  tags                  = local.tags
}

ephemeral "random_password" "this" {
  for_each = toset(["master", "owner", "reader", "web", "admin"])

  length  = 40
  special = false # they stand in URLs
}

resource "azurerm_postgresql_flexible_server" "this" {
  #checkov:skip=CKV2_AZURE_57:It lies in a subnet of its own, which is the other way to be private
  #checkov:skip=CKV_AZURE_136:A copy of the back-ups in another region is the operator's decision, and double the price
  name                          = "${var.name}-${var.unique}"
  location                      = azurerm_resource_group.this.location
  resource_group_name           = azurerm_resource_group.this.name
  version                       = "17"
  sku_name                      = local.size.database_sku
  storage_mb                    = local.size.database_mib
  auto_grow_enabled             = true
  backup_retention_days         = local.size.backup_days
  geo_redundant_backup_enabled  = false
  delegated_subnet_id           = azurerm_subnet.database.id
  private_dns_zone_id           = azurerm_private_dns_zone.database.id
  public_network_access_enabled = false
  tags                          = local.tags

  administrator_login               = "almanac_master"
  administrator_password_wo         = ephemeral.random_password.this["master"].result
  administrator_password_wo_version = var.secrets_version

  dynamic "high_availability" {
    for_each = local.size.database_ha ? ["ZoneRedundant"] : []
    content {
      mode = high_availability.value
    }
  }

  maintenance_window {
    day_of_week  = 0
    start_hour   = 3
    start_minute = 30
  }

  # After a fail-over the zones have changed places; a plan shall not move them back.
  lifecycle {
    ignore_changes = [zone, high_availability[0].standby_availability_zone]
  }

  depends_on = [azurerm_private_dns_zone_virtual_network_link.database]
}

resource "azurerm_postgresql_flexible_server_configuration" "this" {
  for_each = {
    "azure.extensions"                    = "VECTOR,PG_STAT_STATEMENTS"
    "require_secure_transport"            = "on"
    "ssl_min_protocol_version"            = "TLSv1.2"
    "log_connections"                     = "on"
    "log_disconnections"                  = "on"
    "log_lock_waits"                      = "on"
    "idle_in_transaction_session_timeout" = "300000"
  }

  name      = each.key
  server_id = azurerm_postgresql_flexible_server.this.id
  value     = each.value
}

resource "azurerm_postgresql_flexible_server_database" "this" {
  name      = "almanac"
  server_id = azurerm_postgresql_flexible_server.this.id
  charset   = "UTF8"
  collation = "en_US.utf8"
}
