# Services of Azure are reached at addresses of the network, by the names that they have anyway.

locals {
  # Which kind of endpoint a service has, and in which zone its name stands.
  endpoints = merge(
    {
      vault    = { id = azurerm_key_vault.this.id, kind = "vault", zone = "privatelink.vaultcore.azure.net" }
      storage  = { id = azurerm_storage_account.this.id, kind = "blob", zone = "privatelink.blob.core.windows.net" }
      queue    = { id = azurerm_managed_redis.this.id, kind = "redisEnterprise", zone = "privatelink.redis.azure.net" }
      registry = { id = azurerm_container_registry.this.id, kind = "registry", zone = "privatelink.azurecr.io" }
      openai   = { id = one(azurerm_cognitive_account.openai[*].id), kind = "account", zone = "privatelink.openai.azure.com" }
    }
  )
  wanted = setsubtract(keys(local.endpoints), concat(
    local.size.registry_sku == "Premium" ? [] : ["registry"], # only Premium has them
    var.openai == null ? ["openai"] : []
  ))
}

resource "azurerm_private_dns_zone" "this" {
  for_each = local.wanted

  name                = local.endpoints[each.key].zone
  resource_group_name = azurerm_resource_group.this.name
  tags                = local.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "this" {
  for_each = local.wanted

  name                  = each.key
  resource_group_name   = azurerm_resource_group.this.name
  private_dns_zone_name = azurerm_private_dns_zone.this[each.key].name
  virtual_network_id    = azurerm_virtual_network.this.id
  tags                  = local.tags
}

resource "azurerm_private_endpoint" "this" {
  for_each = local.wanted

  name                = "${var.name}-${each.key}"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  subnet_id           = azurerm_subnet.endpoints.id
  tags                = local.tags

  private_service_connection {
    name                           = each.key
    private_connection_resource_id = local.endpoints[each.key].id
    subresource_names              = [local.endpoints[each.key].kind]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = each.key
    private_dns_zone_ids = [azurerm_private_dns_zone.this[each.key].id]
  }
}
