# The very rules of infra/prometheus as Azure has them. Nothing else is in this file, since checkov cannot read the argument
# `for`, which is a word of the language to it. (Read with another name in its place, nothing is found.)

locals {
  rule_groups = { for group in yamldecode(file("${path.module}/../../prometheus/rules.yml")).groups : group.name => group.rules }
  severities  = { page = 1, ticket = 3 }
}

resource "azurerm_monitor_alert_prometheus_rule_group" "this" {
  for_each = local.rule_groups

  name                = "${var.name}-${replace(each.key, ".", "-")}"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  cluster_name        = azurerm_kubernetes_cluster.this.name
  interval            = "PT1M"
  scopes              = [azurerm_monitor_workspace.this.id]
  tags                = local.tags

  dynamic "rule" {
    for_each = each.value
    content {
      record      = try(rule.value.record, null)
      alert       = try(rule.value.alert, null)
      expression  = rule.value.expr
      for         = try(join("", [endswith(rule.value.for, "d") ? "P" : "PT", upper(rule.value.for)]), null) # 5m is PT5M here
      labels      = try(rule.value.labels, null)
      annotations = try(rule.value.annotations, null)
      severity    = try(rule.value.alert, null) == null ? null : local.severities[rule.value.labels.severity]

      dynamic "action" {
        for_each = can(rule.value.alert) ? [azurerm_monitor_action_group.mail.id] : []
        content {
          action_group_id = action.value
        }
      }
    }
  }
}
