# Where fine-tuned models are kept: no shared keys, no public access, versions that can be brought back.

resource "azurerm_storage_account" "this" {
  #checkov:skip=CKV_AZURE_33:No queues are used
  #checkov:skip=CKV2_AZURE_1:Encrypted by the platform's keys; adapters hold no more than the documents they were trained on say
  #checkov:skip=CKV2_AZURE_41:There are no SAS tokens where there are no shared keys
  #checkov:skip=CKV_AZURE_206:Adapters can be trained anew; another region is not worth its price
  name                              = "${local.plain}${var.unique}"
  location                          = azurerm_resource_group.this.location
  resource_group_name               = azurerm_resource_group.this.name
  account_kind                      = "StorageV2"
  account_tier                      = "Standard"
  account_replication_type          = "ZRS"
  min_tls_version                   = "TLS1_2"
  https_traffic_only_enabled        = true
  shared_access_key_enabled         = false
  default_to_oauth_authentication   = true
  local_user_enabled                = false
  public_network_access_enabled     = false
  allow_nested_items_to_be_public   = false
  cross_tenant_replication_enabled  = false
  infrastructure_encryption_enabled = true
  tags                              = local.tags

  network_rules {
    default_action = "Deny"
    bypass         = ["AzureServices"]
  }

  blob_properties {
    versioning_enabled = true
    delete_retention_policy {
      days = 30
    }
    container_delete_retention_policy {
      days = 30
    }
  }
}

resource "azurerm_storage_container" "adapters" {
  #checkov:skip=CKV2_AZURE_21:Reads of blobs are logged by the account's diagnostic setting (monitoring.tf)
  name                  = "adapters"
  storage_account_id    = azurerm_storage_account.this.id
  container_access_type = "private"
}
