# Modules by themselves, with a mocked provider: what a database, a queue, a cluster and a bucket always are.

mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
  mock_data "aws_secretsmanager_random_password" {
    defaults = { random_password = "drawn-by-nobody-drawn-by-nobody-" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

run "database" {
  command = plan

  module {
    source = "../modules/aws/database"
  }

  variables {
    name                     = "almanac"
    vpc_id                   = "vpc-1"
    subnet_ids               = ["subnet-1", "subnet-2"]
    client_security_group_id = "sg-nodes"
    engine_version           = "17.6"
    instance_class           = "db.r6g.large"
    storage_gib              = 100
    multi_az                 = true
    replicas                 = 2
    backup_days              = 14
    deletion_protection      = true
    data_key_arn             = "arn:aws:kms:eu-central-1:111122223333:key/data"
    logs_key_arn             = "arn:aws:kms:eu-central-1:111122223333:key/logs"
    log_retention_days       = 90
  }

  assert {
    condition     = alltrue([for db in concat([aws_db_instance.this], aws_db_instance.replica) : !db.publicly_accessible && db.storage_encrypted])
    error_message = "No database is public, and each is encrypted."
  }
  assert {
    condition     = aws_db_instance.this.manage_master_user_password && aws_db_instance.this.password == null
    error_message = "The master's password is AWS' to make and keep."
  }
  assert {
    condition     = contains([for p in aws_db_parameter_group.this.parameter : "${p.name}=${p.value}"], "rds.force_ssl=1")
    error_message = "Connections without TLS are refused."
  }
  assert {
    condition     = aws_db_parameter_group.this.family == "postgres17"
    error_message = "The parameters are those of the version."
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.nodes.referenced_security_group_id == "sg-nodes" && aws_vpc_security_group_ingress_rule.nodes.cidr_ipv4 == null
    error_message = "Only nodes reach the database."
  }
  assert {
    condition     = aws_db_instance.this.deletion_protection && !aws_db_instance.this.skip_final_snapshot && aws_db_instance.this.backup_retention_period == 14
    error_message = "It refuses to be deleted, and is backed up."
  }
  assert {
    condition     = aws_db_instance.this.multi_az && length(aws_db_instance.replica) == 2 && aws_db_instance.this.instance_class == "db.r6g.large"
    error_message = "Sizes come from variables."
  }
}

run "queue" {
  command = plan

  module {
    source = "../modules/aws/cache"
  }

  variables {
    name                     = "almanac"
    vpc_id                   = "vpc-1"
    subnet_ids               = ["subnet-1", "subnet-2"]
    client_security_group_id = "sg-nodes"
    node_type                = "cache.t4g.micro"
    nodes                    = 2
    data_key_arn             = "arn:aws:kms:eu-central-1:111122223333:key/data"
    logs_key_arn             = "arn:aws:kms:eu-central-1:111122223333:key/logs"
    log_retention_days       = 90
  }

  assert {
    condition     = aws_elasticache_replication_group.this.transit_encryption_enabled && aws_elasticache_replication_group.this.transit_encryption_mode == "required"
    error_message = "The queue speaks TLS only."
  }
  assert {
    condition     = aws_elasticache_replication_group.this.at_rest_encryption_enabled == "true" && aws_elasticache_replication_group.this.engine == "valkey"
    error_message = "Valkey, encrypted at rest."
  }
  assert {
    condition     = aws_elasticache_replication_group.this.automatic_failover_enabled && aws_elasticache_replication_group.this.multi_az_enabled
    error_message = "With a replica it takes over in another zone."
  }
  assert {
    condition     = aws_elasticache_replication_group.this.cluster_mode == "disabled" && aws_elasticache_replication_group.this.num_cache_clusters == 2
    error_message = "Cluster mode is off: arq's transactions touch several slots."
  }
  assert {
    condition     = contains([for p in aws_elasticache_parameter_group.this.parameter : "${p.name}=${p.value}"], "maxmemory-policy=noeviction")
    error_message = "A queue evicts nothing."
  }
}

run "cluster_without_addresses_outside" {
  command = plan

  module {
    source = "../modules/aws/cluster"
  }

  variables {
    name               = "almanac"
    kubernetes_version = "1.35"
    subnet_ids         = ["subnet-1", "subnet-2"]
    api_cidrs          = []
    admins             = ["arn:aws:iam::111122223333:role/Administrators"]
    deployers          = { deploy = "arn:aws:iam::111122223333:role/deploy" }
    namespace          = "almanac"
    secrets_key_arn    = "arn:aws:kms:eu-central-1:111122223333:key/cluster"
    logs_key_arn       = "arn:aws:kms:eu-central-1:111122223333:key/logs"
    log_retention_days = 90
    general            = { instance_types = ["m6i.large"], min = 2, desired = 3, max = 5, disk_gib = 50 }
    gpu                = { instance_types = ["g6.xlarge"], max = 2, disk_gib = 150, capacity_type = "SPOT" }
  }

  assert {
    condition     = !aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].endpoint_private_access
    error_message = "Where no address is named, the API is private."
  }
  assert {
    condition     = aws_eks_cluster.this.encryption_config[0].resources == toset(["secrets"]) && aws_eks_cluster.this.encryption_config[0].provider[0].key_arn == "arn:aws:kms:eu-central-1:111122223333:key/cluster"
    error_message = "Kubernetes' secrets are encrypted by the key that is given."
  }
  assert {
    condition     = length(aws_eks_cluster.this.enabled_cluster_log_types) == 5
    error_message = "The control plane logs everything."
  }
  assert {
    condition     = aws_eks_cluster.this.access_config[0].authentication_mode == "API" && !aws_eks_cluster.this.access_config[0].bootstrap_cluster_creator_admin_permissions
    error_message = "Who made the cluster is no administrator for that alone."
  }
  assert {
    condition     = aws_eks_access_policy_association.deployer["deploy"].access_scope[0].type == "namespace" && aws_eks_access_policy_association.deployer["deploy"].access_scope[0].namespaces == toset(["almanac"])
    error_message = "Who rolls out rules one namespace."
  }
  assert {
    condition     = alltrue([for template in aws_launch_template.this : template.metadata_options[0].http_tokens == "required" && template.metadata_options[0].http_put_response_hop_limit == 1])
    error_message = "A pod cannot reach the node's credentials."
  }
  assert {
    condition     = alltrue([for template in aws_launch_template.this : template.block_device_mappings[0].ebs[0].encrypted == "true"])
    error_message = "Nodes' disks are encrypted."
  }
  assert {
    condition     = aws_eks_node_group.gpu.scaling_config[0].min_size == 0 && aws_eks_node_group.gpu.scaling_config[0].desired_size == 0 && aws_eks_node_group.gpu.scaling_config[0].max_size == 2
    error_message = "No GPU until one is asked for."
  }
  assert {
    condition     = jsondecode(aws_eks_addon.before_nodes["vpc-cni"].configuration_values).enableNetworkPolicy == "true"
    error_message = "Network policies are enforced."
  }
}

run "bucket" {
  command = plan

  module {
    source = "../modules/aws/bucket"
  }

  variables {
    name        = "almanac-adapters"
    kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/data"
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls, aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls, aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "Nothing of a bucket can be made public."
  }
  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled" && !aws_s3_bucket.this.force_destroy
    error_message = "What is overwritten or deleted can be brought back."
  }
  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms"
    error_message = "Objects are encrypted by the key that is given."
  }
}
