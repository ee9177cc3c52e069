# Azure Monitor: metrics of the cluster, logs, Grafana where it is wanted, a budget.

resource "azurerm_log_analytics_workspace" "this" {
  name                         = var.name
  location                     = azurerm_resource_group.this.location
  resource_group_name          = azurerm_resource_group.this.name
  sku                          = "PerGB2018"
  retention_in_days            = var.log_retention_days
  local_authentication_enabled = false
  tags                         = local.tags
}

resource "azurerm_monitor_workspace" "this" {
  name                = var.name
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  tags                = local.tags
}

resource "azurerm_monitor_data_collection_endpoint" "prometheus" {
  name                = "${var.name}-prometheus"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  kind                = "Linux"
  tags                = local.tags
}

resource "azurerm_monitor_data_collection_rule" "prometheus" {
  name                        = "${var.name}-prometheus"
  location                    = azurerm_resource_group.this.location
  resource_group_name         = azurerm_resource_group.this.name
  data_collection_endpoint_id = azurerm_monitor_data_collection_endpoint.prometheus.id
  kind                        = "Linux"
  tags                        = local.tags

  data_sources {
    prometheus_forwarder {
      name    = "prometheus"
      streams = ["Microsoft-PrometheusMetrics"]
    }
  }

  destinations {
    monitor_account {
      name               = "workspace"
      monitor_account_id = azurerm_monitor_workspace.this.id
    }
  }

  data_flow {
    streams      = ["Microsoft-PrometheusMetrics"]
    destinations = ["workspace"]
  }
}

resource "azurerm_monitor_data_collection_rule_association" "prometheus" {
  name                    = "prometheus"
  target_resource_id      = azurerm_kubernetes_cluster.this.id
  data_collection_rule_id = azurerm_monitor_data_collection_rule.prometheus.id
}

# Who read which secret, who changed the cluster, who was refused: kept beside the logs of the pods.
resource "azurerm_monitor_diagnostic_setting" "this" {
  for_each = {
    vault    = { id = azurerm_key_vault.this.id, groups = ["audit"], categories = [] }
    cluster  = { id = azurerm_kubernetes_cluster.this.id, groups = [], categories = ["kube-audit-admin", "kube-apiserver", "guard"] }
    database = { id = azurerm_postgresql_flexible_server.this.id, groups = ["audit"], categories = [] }
    storage  = { id = "${azurerm_storage_account.this.id}/blobServices/default", groups = ["audit"], categories = [] }
    gateway  = { id = azurerm_application_gateway.this.id, groups = [], categories = ["ApplicationGatewayFirewallLog"] }
  }

  name                       = "almanac"
  target_resource_id         = each.value.id
  log_analytics_workspace_id = azurerm_log_analytics_workspace.this.id

  dynamic "enabled_log" {
    for_each = each.value.groups
    content {
      category_group = enabled_log.value
    }
  }

  dynamic "enabled_log" {
    for_each = each.value.categories
    content {
      category = enabled_log.value
    }
  }
}

resource "azurerm_dashboard_grafana" "this" {
  count = var.grafana ? 1 : 0

  name                          = "${var.name}-${var.unique}"
  location                      = azurerm_resource_group.this.location
  resource_group_name           = azurerm_resource_group.this.name
  grafana_major_version         = "11"
  sku                           = "Standard"
  api_key_enabled               = false
  public_network_access_enabled = true # people reach it with their Entra account
  tags                          = local.tags

  identity {
    type = "SystemAssigned"
  }

  azure_monitor_workspace_integrations {
    resource_id = azurerm_monitor_workspace.this.id
  }
}

resource "azurerm_role_assignment" "grafana_reads" {
  count = var.grafana ? 1 : 0

  scope                = azurerm_monitor_workspace.this.id
  role_definition_name = "Monitoring Data Reader"
  principal_id         = azurerm_dashboard_grafana.this[0].identity[0].principal_id
}

resource "azurerm_role_assignment" "grafana_admins" {
  for_each = var.grafana ? toset(var.admin_group_ids) : toset([])

  scope                = azurerm_dashboard_grafana.this[0].id
  role_definition_name = "Grafana Admin"
  principal_id         = each.key
}

resource "azurerm_consumption_budget_resource_group" "month" {
  count = var.monthly_budget > 0 ? 1 : 0

  name              = "${var.name}-month"
  resource_group_id = azurerm_resource_group.this.id
  amount            = var.monthly_budget
  time_grain        = "Monthly"

  time_period {
    start_date = var.budget_start
  }

  dynamic "notification" {
    for_each = { 80 = "Actual", 100 = "Forecasted" }
    content {
      operator       = "GreaterThan"
      threshold      = notification.key
      threshold_type = notification.value
      contact_emails = var.alert_emails
    }
  }
}

# Who is told of alerts (alerts.tf).
resource "azurerm_monitor_action_group" "mail" {
  name                = "${var.name}-mail"
  resource_group_name = azurerm_resource_group.this.name
  short_name          = "almanac"
  tags                = local.tags

  dynamic "email_receiver" {
    for_each = var.alert_emails
    content {
      name                    = email_receiver.key
      email_address           = email_receiver.key
      use_common_alert_schema = true
    }
  }
}
