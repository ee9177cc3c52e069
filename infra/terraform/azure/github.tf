# GitHub's workflows sign in by OpenID Connect: no secret of Azure lies at GitHub.
#   plan    on pull requests: reads the state, and cannot refresh it (plan.yml runs with -refresh=false)
#   build   on main: pushes images; a release rolls out what was built of its commit
#   deploy  in the environment that asks for approval: rolls out in the assistant's namespace

locals {
  workflows = var.github == null ? {} : {
    plan = {
      subject = "repo:${var.github.repository}:pull_request"
      grants  = { state = { role = "Storage Blob Data Reader", scope = var.github.state_container_id } }
    }
    build = {
      subject = "repo:${var.github.repository}:ref:refs/heads/main"
      grants  = { push = { role = "AcrPush", scope = azurerm_container_registry.this.id } }
    }
    deploy = {
      subject = "repo:${var.github.repository}:environment:${var.github.environment}"
      grants = {
        pull    = { role = "AcrPull", scope = azurerm_container_registry.this.id }
        find    = { role = "Azure Kubernetes Service Cluster User Role", scope = azurerm_kubernetes_cluster.this.id }
        rollout = { role = "Azure Kubernetes Service RBAC Admin", scope = "${azurerm_kubernetes_cluster.this.id}/namespaces/${local.namespace}" }
      }
    }
  }

  workflow_grants = merge([for key, workflow in local.workflows : {
    for name, grant in workflow.grants : "${key}-${name}" => merge(grant, { key = key })
  }]...)
}

resource "azurerm_user_assigned_identity" "github" {
  for_each = local.workflows

  name                = "${var.name}-github-${each.key}"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  tags                = local.tags
}

resource "azurerm_federated_identity_credential" "github" {
  for_each = local.workflows

  name                = "github-${each.key}"
  resource_group_name = azurerm_resource_group.this.name
  parent_id           = azurerm_user_assigned_identity.github[each.key].id
  issuer              = "https://token.actions.githubusercontent.com"
  audience            = ["api://AzureADTokenExchange"]
  subject             = each.value.subject
}

resource "azurerm_role_assignment" "github" {
  for_each = local.workflow_grants

  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = azurerm_user_assigned_identity.github[each.value.key].principal_id
}
