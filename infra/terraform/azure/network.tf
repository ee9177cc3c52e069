# One network: nodes, database, private endpoints and the gateway each have a subnet, and a list of who may enter.

data "azurerm_client_config" "this" {}

resource "azurerm_resource_group" "this" {
  name     = var.name
  location = var.location
  tags     = local.tags
}

resource "azurerm_virtual_network" "this" {
  name                = var.name
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  address_space       = [var.address_space]
  tags                = local.tags
}

resource "azurerm_subnet" "nodes" {
  name                            = "nodes"
  resource_group_name             = azurerm_resource_group.this.name
  virtual_network_name            = azurerm_virtual_network.this.name
  address_prefixes                = [cidrsubnet(var.address_space, 4, 0)]
  default_outbound_access_enabled = false
}

resource "azurerm_subnet" "endpoints" {
  name                              = "endpoints"
  resource_group_name               = azurerm_resource_group.this.name
  virtual_network_name              = azurerm_virtual_network.this.name
  address_prefixes                  = [cidrsubnet(var.address_space, 8, 128)]
  default_outbound_access_enabled   = false
  private_endpoint_network_policies = "Enabled"
}

resource "azurerm_subnet" "database" {
  name                            = "database"
  resource_group_name             = azurerm_resource_group.this.name
  virtual_network_name            = azurerm_virtual_network.this.name
  address_prefixes                = [cidrsubnet(var.address_space, 8, 129)]
  default_outbound_access_enabled = false

  delegation {
    name = "postgres"
    service_delegation {
      name    = "Microsoft.DBforPostgreSQL/flexibleServers"
      actions = ["Microsoft.Network/virtualNetworks/subnets/join/action"]
    }
  }
}

resource "azurerm_subnet" "gateway" {
  name                 = "gateway"
  resource_group_name  = azurerm_resource_group.this.name
  virtual_network_name = azurerm_virtual_network.this.name
  address_prefixes     = [cidrsubnet(var.address_space, 8, 130)]
}

locals {
  # Who may enter which subnet, beside what Azure itself needs there. Everything else from outside is refused.
  entries = {
    database = [
      { name = "postgres", port = "5432", from = azurerm_subnet.nodes.address_prefixes },
      { name = "standby", port = "5432-6432", from = azurerm_subnet.database.address_prefixes },
    ]
    endpoints = [
      { name = "tls", port = "443", from = azurerm_subnet.nodes.address_prefixes },
      { name = "queue", port = "10000", from = azurerm_subnet.nodes.address_prefixes },
      { name = "certificate", port = "443", from = azurerm_subnet.gateway.address_prefixes },
    ]
    nodes = [
      { name = "bot", port = "8080", from = azurerm_subnet.gateway.address_prefixes },
    ]
    gateway = [
      { name = "people", port = "443", from = var.allowed_cidrs },
      { name = "redirect", port = "80", from = var.allowed_cidrs },
      { name = "azure", port = "65200-65535", from = ["GatewayManager"] },
    ]
  }
  subnets = {
    database  = azurerm_subnet.database.id
    endpoints = azurerm_subnet.endpoints.id
    nodes     = azurerm_subnet.nodes.id
    gateway   = azurerm_subnet.gateway.id
  }
}

resource "azurerm_network_security_group" "this" {
  for_each = local.entries

  name                = "${var.name}-${each.key}"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  tags                = local.tags

  dynamic "security_rule" {
    for_each = { for i, entry in each.value : entry.name => merge(entry, { priority = 100 + i }) }
    content {
      name                       = security_rule.key
      description                = "${security_rule.key} into ${each.key}"
      priority                   = security_rule.value.priority
      direction                  = "Inbound"
      access                     = "Allow"
      protocol                   = "Tcp"
      source_port_range          = "*"
      source_address_prefix      = length(security_rule.value.from) == 1 ? security_rule.value.from[0] : null
      source_address_prefixes    = length(security_rule.value.from) == 1 ? null : security_rule.value.from
      destination_port_range     = security_rule.value.port
      destination_address_prefix = "*"
    }
  }

  # Azure's default lets the whole network and its load balancers in: the latter stay, the former goes (but among nodes).
  dynamic "security_rule" {
    for_each = each.key == "nodes" ? [] : [4000]
    content {
      name                       = "nobody-else"
      description                = "Nobody else of the network"
      priority                   = security_rule.value
      direction                  = "Inbound"
      access                     = "Deny"
      protocol                   = "*"
      source_port_range          = "*"
      source_address_prefix      = "VirtualNetwork"
      destination_port_range     = "*"
      destination_address_prefix = "*"
    }
  }
}

resource "azurerm_subnet_network_security_group_association" "this" {
  for_each = local.subnets

  subnet_id                 = each.value
  network_security_group_id = azurerm_network_security_group.this[each.key].id
}

# The one way out, with an address that partners can allow.
resource "azurerm_public_ip" "out" {
  name                = "${var.name}-out"
  location            = azurerm_resource_group.this.location
  resource_group_name = azurerm_resource_group.this.name
  allocation_method   = "Static"
  sku                 = "Standard"
  zones               = ["1"]
  tags                = local.tags
}

resource "azurerm_nat_gateway" "this" {
  name                    = var.name
  location                = azurerm_resource_group.this.location
  resource_group_name     = azurerm_resource_group.this.name
  sku_name                = "Standard"
  idle_timeout_in_minutes = 10
  zones                   = ["1"]
  tags                    = local.tags
}

resource "azurerm_nat_gateway_public_ip_association" "this" {
  nat_gateway_id       = azurerm_nat_gateway.this.id
  public_ip_address_id = azurerm_public_ip.out.id
}

resource "azurerm_subnet_nat_gateway_association" "nodes" {
  subnet_id      = azurerm_subnet.nodes.id
  nat_gateway_id = azurerm_nat_gateway.this.id
}
