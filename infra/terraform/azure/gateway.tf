# The one way in: TLS 1.2 and newer, a firewall, and what is only for inside (metrics, health) hidden. Behind it stands
# the bot's internal load balancer, at an address of the nodes' subnet that is fixed beforehand.

locals {
  bot_address = cidrhost(azurerm_subnet.nodes.address_prefixes[0], 4000)
}

resource "azurerm_public_ip" "in" {
  name                = "${var.name}-in"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  allocation_method   = "Static"
  sku                 = "Standard"
  zones               = ["1", "2", "3"]
  tags                = local.tags
}

resource "azurerm_user_assigned_identity" "gateway" {
  name                = "${var.name}-gateway"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  tags                = local.tags
}

resource "azurerm_role_assignment" "gateway" {
  scope                = "${azurerm_key_vault.this.id}/secrets/${azurerm_key_vault_certificate.this.name}"
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.gateway.principal_id
}

resource "azurerm_web_application_firewall_policy" "this" {
  #checkov:skip=CKV_AZURE_135:The default rule set 2.1 has the rules for Log4j
  name                = var.name
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  tags                = local.tags

  policy_settings {
    enabled                     = true
    mode                        = "Prevention"
    request_body_check          = false # questions quote code, which looks like attacks
    max_request_body_size_in_kb = 128
    file_upload_limit_in_mb     = 100
  }

  managed_rules {
    managed_rule_set {
      type    = "Microsoft_BotManagerRuleSet"
      version = "1.1"
    }
    managed_rule_set {
      type    = "Microsoft_DefaultRuleSet"
      version = "2.1"
    }
  }

  custom_rules {
    name      = "insideonly"
    priority  = 1
    rule_type = "MatchRule"
    action    = "Block"
    match_conditions {
      operator     = "BeginsWith"
      match_values = ["/metrics", "/healthz", "/readyz"]
      match_variables {
        variable_name = "RequestUri"
      }
    }
  }

  custom_rules {
    name                 = "rate"
    priority             = 2
    rule_type            = "RateLimitRule"
    action               = "Block"
    rate_limit_duration  = "FiveMins"
    rate_limit_threshold = 3000
    group_rate_limit_by  = "ClientAddr"
    match_conditions {
      operator           = "IPMatch"
      negation_condition = true
      match_values       = ["255.255.255.255/32"] # that is: everybody
      match_variables {
        variable_name = "RemoteAddr"
      }
    }
  }
}

resource "azurerm_application_gateway" "this" {
  #checkov:skip=CKV_AZURE_217:Port 80 only answers that the page is on 443
  name                = var.name
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  firewall_policy_id  = azurerm_web_application_firewall_policy.this.id
  enable_http2        = true
  zones               = ["1", "2", "3"]
  tags                = local.tags

  sku {
    name = "WAF_v2"
    tier = "WAF_v2"
  }

  autoscale_configuration {
    min_capacity = 1
    max_capacity = 10
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.gateway.id]
  }

  ssl_policy {
    policy_type = "Predefined"
    policy_name = "AppGwSslPolicy20220101S"
  }

  # Without a version in its id, a newer certificate is taken up within four hours.
  ssl_certificate {
    name                = "gateway"
    key_vault_secret_id = azurerm_key_vault_certificate.this.versionless_secret_id
  }

  gateway_ip_configuration {
    name      = "gateway"
    subnet_id = azurerm_subnet.gateway.id
  }

  frontend_ip_configuration {
    name                 = "public"
    public_ip_address_id = azurerm_public_ip.in.id
  }

  frontend_port {
    name = "http"
    port = 80
  }

  frontend_port {
    name = "https"
    port = 443
  }

  backend_address_pool {
    name         = "bot"
    ip_addresses = [local.bot_address]
  }

  backend_http_settings {
    name                  = "bot"
    port                  = 8080
    protocol              = "Http"
    cookie_based_affinity = "Disabled"
    request_timeout       = 120 # an answer streams for up to a minute, with pauses
    probe_name            = "ready"
    host_name             = var.domain

    connection_draining {
      enabled           = true
      drain_timeout_sec = 75
    }
  }

  probe {
    name                = "ready"
    protocol            = "Http"
    host                = var.domain
    path                = "/readyz"
    interval            = 10
    timeout             = 5
    unhealthy_threshold = 3
  }

  # An answer streams: nothing holds its pieces back.
  global {
    request_buffering_enabled  = true
    response_buffering_enabled = false
  }

  http_listener {
    name                           = "https"
    frontend_ip_configuration_name = "public"
    frontend_port_name             = "https"
    protocol                       = "Https"
    ssl_certificate_name           = "gateway"
    host_name                      = var.domain
  }

  http_listener {
    name                           = "http"
    frontend_ip_configuration_name = "public"
    frontend_port_name             = "http"
    protocol                       = "Http"
  }

  redirect_configuration {
    name                 = "https"
    redirect_type        = "Permanent"
    target_listener_name = "https"
    include_path         = true
    include_query_string = true
  }

  request_routing_rule {
    name                       = "bot"
    rule_type                  = "Basic"
    priority                   = 10
    http_listener_name         = "https"
    backend_address_pool_name  = "bot"
    backend_http_settings_name = "bot"
  }

  request_routing_rule {
    name                        = "redirect"
    rule_type                   = "Basic"
    priority                    = 20
    http_listener_name          = "http"
    redirect_configuration_name = "https"
  }

  depends_on = [azurerm_role_assignment.gateway, azurerm_private_endpoint.this]
}
