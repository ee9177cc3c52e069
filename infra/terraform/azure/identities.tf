# One identity for each service account, by workload identity: what it may do, where, and nothing more.

locals {
  roles = {
    bot = {
      namespace = local.namespace, account = "almanac-bot"
      grants    = { adapters = { role = "Storage Blob Data Reader", scope = azurerm_storage_container.adapters.id } }
    }
    worker = {
      namespace = local.namespace, account = "almanac-worker"
      grants    = { adapters = { role = "Storage Blob Data Contributor", scope = azurerm_storage_container.adapters.id } }
    }
    serving = {
      namespace = local.namespace, account = "almanac-serving"
      grants    = { adapters = { role = "Storage Blob Data Reader", scope = azurerm_storage_container.adapters.id } }
    }
    external-secrets = {
      namespace = "external-secrets", account = "external-secrets"
      grants    = { vault = { role = "Key Vault Secrets User", scope = azurerm_key_vault.this.id } }
    }
    keda = {
      namespace = "kube-system", account = "keda-operator"
      grants    = { metrics = { role = "Monitoring Data Reader", scope = azurerm_monitor_workspace.this.id } }
    }
  }

  grants = merge([for key, role in local.roles : {
    for name, grant in role.grants : "${key}-${name}" => merge(grant, { key = key })
  }]...)
}

resource "azurerm_user_assigned_identity" "this" {
  for_each = local.roles

  name                = "${var.name}-${each.key}"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  tags                = local.tags
}

resource "azurerm_federated_identity_credential" "this" {
  for_each = local.roles

  name                = each.key
  resource_group_name = azurerm_resource_group.this.name
  parent_id           = azurerm_user_assigned_identity.this[each.key].id
  issuer              = azurerm_kubernetes_cluster.this.oidc_issuer_url
  audience            = ["api://AzureADTokenExchange"]
  subject             = "system:serviceaccount:${each.value.namespace}:${each.value.account}"
}

resource "azurerm_role_assignment" "this" {
  for_each = local.grants

  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = azurerm_user_assigned_identity.this[each.value.key].principal_id
}
