# What a size is; the same loads as on AWS (../aws/sizes.tf).

locals {
  sizes = {
    small = {
      node_size    = "Standard_D2s_v5"
      nodes        = { min = 2, max = 4 }
      gpu_size     = "Standard_NV6ads_A10_v5"
      gpu_max      = 1
      database_sku = "B_Standard_B2s"
      database_mib = 65536
      database_ha  = false
      queue_sku    = "Balanced_B0"
      queue_ha     = false
      backup_days  = 7
      registry_sku = "Standard"
    }
    medium = {
      node_size    = "Standard_D4s_v5"
      nodes        = { min = 3, max = 8 }
      gpu_size     = "Standard_NC8as_T4_v3"
      gpu_max      = 2
      database_sku = "MO_Standard_E2ds_v5"
      database_mib = 262144
      database_ha  = true
      queue_sku    = "Balanced_B1"
      queue_ha     = true
      backup_days  = 14
      registry_sku = "Premium"
    }
    large = {
      node_size    = "Standard_D8s_v5"
      nodes        = { min = 4, max = 20 }
      gpu_size     = "Standard_NC24ads_A100_v4"
      gpu_max      = 2
      database_sku = "MO_Standard_E8ds_v5"
      database_mib = 1048576
      database_ha  = true
      queue_sku    = "Balanced_B3"
      queue_ha     = true
      backup_days  = 35
      registry_sku = "Premium"
    }
  }

  size = merge(local.sizes[var.size], { for key, value in var.overrides : key => value if value != null })

  tags = merge(var.tags, {
    application  = "almanac"
    installation = var.name
    managed-by   = "terraform"
  })

  namespace = "almanac"
  plain     = replace(var.name, "-", "")
}
