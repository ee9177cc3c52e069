# Azure Managed Redis, which carries the ids of runs. Not clustered: arq's transactions touch keys of several slots.

resource "azurerm_managed_redis" "this" {
  name                      = "${var.name}-${var.unique}"
  location                  = azurerm_resource_group.this.location
  resource_group_name       = azurerm_resource_group.this.name
  sku_name                  = local.size.queue_sku
  high_availability_enabled = local.size.queue_ha
  public_network_access     = "Disabled"
  tags                      = local.tags

  default_database {
    access_keys_authentication_enabled = true # arq knows passwords, not Entra
    client_protocol                    = "Encrypted"
    clustering_policy                  = "NoCluster"
    eviction_policy                    = "NoEviction"
  }
}
