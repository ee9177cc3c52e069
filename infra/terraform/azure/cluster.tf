# AKS: identities instead of secrets, network policies by Cilium, no local accounts, a GPU pool that starts empty.

resource "azurerm_user_assigned_identity" "cluster" {
  name                = "${var.name}-cluster"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  tags                = local.tags
}

resource "azurerm_role_assignment" "cluster_network" {
  scope                = azurerm_subnet.nodes.id
  role_definition_name = "Network Contributor"
  principal_id         = azurerm_user_assigned_identity.cluster.principal_id
}

resource "azurerm_kubernetes_cluster" "this" {
  #checkov:skip=CKV_AZURE_115:Whether the API is private is the operator's decision (private_cluster); it is never open to all
  #checkov:skip=CKV_AZURE_117:Disks are encrypted by the platform's keys; a key of one's own for them is worth little here
  #checkov:skip=CKV_AZURE_226:Ephemeral disks need sizes with a large enough cache
  #checkov:skip=CKV_AZURE_227:Encryption at the host has to be registered for the subscription first
  #checkov:skip=CKV_AZURE_172:Secrets come by External Secrets, not by the CSI driver
  #checkov:skip=CKV_AZURE_232:One pool for system and assistant: a second one costs two more nodes
  name                = var.name
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  node_resource_group = "${var.name}-nodes"
  dns_prefix          = var.name
  kubernetes_version  = var.kubernetes_version
  sku_tier            = "Standard"
  tags                = local.tags

  private_cluster_enabled           = var.private_cluster
  local_account_disabled            = true
  role_based_access_control_enabled = true
  oidc_issuer_enabled               = true
  workload_identity_enabled         = true
  azure_policy_enabled              = true
  run_command_enabled               = false
  image_cleaner_enabled             = true
  image_cleaner_interval_hours      = 48
  automatic_upgrade_channel         = "patch"
  node_os_upgrade_channel           = "NodeImage"

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.cluster.id]
  }

  azure_active_directory_role_based_access_control {
    azure_rbac_enabled     = true
    tenant_id              = data.azurerm_client_config.this.tenant_id
    admin_group_object_ids = var.admin_group_ids
  }

  dynamic "api_server_access_profile" {
    for_each = var.private_cluster ? [] : [var.operator_cidrs]
    content {
      authorized_ip_ranges = api_server_access_profile.value
    }
  }

  default_node_pool {
    name                        = "general"
    vm_size                     = local.size.node_size
    vnet_subnet_id              = azurerm_subnet.nodes.id
    auto_scaling_enabled        = true
    min_count                   = local.size.nodes.min
    max_count                   = local.size.nodes.max
    max_pods                    = 60
    os_sku                      = "AzureLinux"
    os_disk_size_gb             = 100
    zones                       = ["1", "2", "3"]
    node_labels                 = { "almanac/pool" = "general" }
    temporary_name_for_rotation = "generaltmp"
    tags                        = local.tags

    upgrade_settings {
      max_surge = "33%"
    }
  }

  network_profile {
    network_plugin      = "azure"
    network_plugin_mode = "overlay"
    network_policy      = "cilium"
    network_data_plane  = "cilium"
    outbound_type       = "userAssignedNATGateway"
    load_balancer_sku   = "standard"
    pod_cidr            = "192.168.0.0/16"
    service_cidr        = "172.30.0.0/16"
    dns_service_ip      = "172.30.0.10"
  }

  workload_autoscaler_profile {
    keda_enabled = true
  }

  monitor_metrics {}

  oms_agent {
    log_analytics_workspace_id      = azurerm_log_analytics_workspace.this.id
    msi_auth_for_monitoring_enabled = true
  }

  maintenance_window_auto_upgrade {
    frequency   = "Weekly"
    interval    = 1
    duration    = 4
    day_of_week = "Sunday"
    start_time  = "03:30"
  }

  maintenance_window_node_os {
    frequency   = "Weekly"
    interval    = 1
    duration    = 4
    day_of_week = "Sunday"
    start_time  = "03:30"
  }

  # The autoscaler says how many nodes there are, the channel which patch.
  lifecycle {
    ignore_changes = [default_node_pool[0].node_count, kubernetes_version]
  }

  depends_on = [azurerm_role_assignment.cluster_network, azurerm_subnet_nat_gateway_association.nodes]
}

resource "azurerm_kubernetes_cluster_node_pool" "gpu" {
  #checkov:skip=CKV_AZURE_227:Encryption at the host has to be registered for the subscription first
  name                  = "gpu"
  kubernetes_cluster_id = azurerm_kubernetes_cluster.this.id
  vm_size               = local.size.gpu_size
  vnet_subnet_id        = azurerm_subnet.nodes.id
  auto_scaling_enabled  = true
  min_count             = 0
  max_count             = local.size.gpu_max
  node_count            = 0
  max_pods              = 60
  os_sku                = "AzureLinux"
  os_disk_size_gb       = 200
  priority              = var.gpu_spot ? "Spot" : "Regular"
  eviction_policy       = var.gpu_spot ? "Delete" : null
  spot_max_price        = var.gpu_spot ? -1 : null
  node_labels           = merge({ "almanac/pool" = "gpu" }, var.gpu_spot ? { "kubernetes.azure.com/scalesetpriority" = "spot" } : {})
  node_taints           = concat(["nvidia.com/gpu=true:NoSchedule"], var.gpu_spot ? ["kubernetes.azure.com/scalesetpriority=spot:NoSchedule"] : [])
  tags                  = local.tags

  lifecycle {
    ignore_changes = [node_count]
  }
}
