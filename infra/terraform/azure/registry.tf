# Images. Nobody pulls or pushes without an identity; only Premium can be private, and GitHub's runners push from outside.

resource "azurerm_container_registry" "this" {
  #checkov:skip=CKV_AZURE_163:Trivy scans what is pushed (build.yml); Defender is the subscription's decision
  #checkov:skip=CKV_AZURE_139:GitHub's runners push from the internet, with an identity
  #checkov:skip=CKV_AZURE_164:Images are signed by cosign's attestations, not by content trust
  #checkov:skip=CKV_AZURE_165:One region
  #checkov:skip=CKV_AZURE_166:Quarantine is in preview
  #checkov:skip=CKV_AZURE_167:Untagged images are deleted where the tier can (Premium)
  #checkov:skip=CKV_AZURE_233:Zones come with Premium
  #checkov:skip=CKV_AZURE_237:Data endpoints come with Premium and are of use behind a firewall of one's own
  name                          = "${local.plain}${var.unique}"
  location                      = azurerm_resource_group.this.location
  resource_group_name           = azurerm_resource_group.this.name
  sku                           = local.size.registry_sku
  admin_enabled                 = false
  anonymous_pull_enabled        = false
  public_network_access_enabled = true
  zone_redundancy_enabled       = local.size.registry_sku == "Premium"
  retention_policy_in_days      = local.size.registry_sku == "Premium" ? 7 : null
  tags                          = local.tags
}

resource "azurerm_role_assignment" "pull" {
  scope                = azurerm_container_registry.this.id
  role_definition_name = "AcrPull"
  principal_id         = azurerm_kubernetes_cluster.this.kubelet_identity[0].object_id
}
