output "cluster" {
  description = "Name of the cluster: `az aks get-credentials --name …`."
  value       = azurerm_kubernetes_cluster.this.name
}

output "registry" {
  description = "Where images are pushed to."
  value       = azurerm_container_registry.this.login_server
}

output "values" {
  description = "Content of infra/kubernetes/overlays/azure/values.env, but for VERSION."
  value       = join("", [for key, value in local.values : "${key}=${value}\n"])
}

output "settings" {
  description = "Settings of Almanac that are no secrets: begin of infra/kubernetes/overlays/azure/settings.env."
  value       = join("", [for key, value in local.settings : "${key}=${value}\n"])
}

locals {
  values = {
    REGISTRY            = azurerm_container_registry.this.login_server
    VAULT               = azurerm_key_vault.this.vault_uri
    TENANT              = data.azurerm_client_config.this.tenant_id
    PROMETHEUS_ENDPOINT = azurerm_monitor_workspace.this.query_endpoint
    BOT_ADDRESS         = local.bot_address
    BOT_CLIENT          = azurerm_user_assigned_identity.this["bot"].client_id
    WORKER_CLIENT       = azurerm_user_assigned_identity.this["worker"].client_id
  }
  settings = merge(
    {
      ALMANAC_PUBLIC_URL = "https://${var.domain}"
      ALMANAC_ADAPTERS   = "abfs://${azurerm_storage_container.adapters.name}@${azurerm_storage_account.this.name}.blob.core.windows.net/adapters"
    },
    var.teams == null ? {} : {
      MicrosoftAppId                = var.teams.app_id
      MicrosoftAppType              = "SingleTenant"
      MicrosoftAppTenantId          = var.teams.tenant_id
      ALMANAC_TEAMS_ALLOWED_TENANTS = var.teams.tenant_id
    },
    var.openai == null ? {} : {
      ALMANAC_LLM_AZURE_ENDPOINT   = azurerm_cognitive_account.openai[0].endpoint
      ALMANAC_LLM_AZURE_DEPLOYMENT = azurerm_cognitive_deployment.answers[0].name
      ALMANAC_LLM_MODEL            = var.openai.model
    },
  )
}

output "vault" {
  description = "Address of the vault, for the ClusterSecretStore."
  value       = azurerm_key_vault.this.vault_uri
}

output "database_host" {
  description = "Host of the database."
  value       = local.database_host
}

output "bot_address" {
  description = "Address that the bot's internal load balancer has to take (annotation service.beta.kubernetes.io/azure-load-balancer-ipv4)."
  value       = local.bot_address
}

output "gateway_address" {
  description = "Address that the domain has to point to."
  value       = azurerm_public_ip.in.ip_address
}

output "service_accounts" {
  description = "Client ids of the service accounts' identities (annotation azure.workload.identity/client-id)."
  value       = { for key, identity in azurerm_user_assigned_identity.this : key => identity.client_id }
}

output "github_identities" {
  description = "Client ids of the workflows' identities: the repository's variables AZURE_PLAN_CLIENT_ID, AZURE_BUILD_CLIENT_ID, AZURE_DEPLOY_CLIENT_ID."
  value       = { for key, identity in azurerm_user_assigned_identity.github : key => identity.client_id }
}

output "grafana" {
  description = "Address of Grafana, where there is one."
  value       = one(azurerm_dashboard_grafana.this[*].endpoint)
}
