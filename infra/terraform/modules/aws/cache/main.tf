# Valkey, which carries the ids of runs: TLS, a token, encrypted at rest. If it loses everything, a sweep queues again.
# Cluster mode is off: arq's transactions touch keys of several slots.

resource "aws_elasticache_subnet_group" "this" {
  name        = var.name
  description = "Data subnets of ${var.name}"
  subnet_ids  = var.subnet_ids
}

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-valkey-"
  description = "Valkey, from the nodes only"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-valkey" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "nodes" {
  security_group_id            = aws_security_group.this.id
  description                  = "Valkey from the nodes"
  referenced_security_group_id = var.client_security_group_id
  from_port                    = 6379
  to_port                      = 6379
  ip_protocol                  = "tcp"
}

# noeviction: a full queue refuses new runs, and forgets none.
resource "aws_elasticache_parameter_group" "this" {
  name        = "${var.name}-valkey8"
  family      = "valkey8"
  description = "A queue: nothing is evicted"

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_338:How long logs are kept is the operator's decision (log_retention_days)
  name              = "/aws/elasticache/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.logs_key_arn
}

# The provider has no write-only token for ElastiCache, so this one secret lies in the state, which is encrypted.
data "aws_secretsmanager_random_password" "token" {
  password_length     = 48
  exclude_punctuation = true
}

resource "aws_elasticache_replication_group" "this" {
  #checkov:skip=CKV2_AWS_50:A standby is the operator's decision (size small has none)
  replication_group_id = var.name
  description          = "Queue of ${var.name}"
  engine               = "valkey"
  engine_version       = "8.0"
  cluster_mode         = "disabled"
  node_type            = var.node_type
  num_cache_clusters   = var.nodes
  port                 = 6379
  parameter_group_name = aws_elasticache_parameter_group.this.name

  automatic_failover_enabled = var.nodes > 1
  multi_az_enabled           = var.nodes > 1

  at_rest_encryption_enabled = true
  kms_key_id                 = var.data_key_arn
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  auth_token                 = data.aws_secretsmanager_random_password.token.random_password
  auth_token_update_strategy = "ROTATE"

  subnet_group_name          = aws_elasticache_subnet_group.this.name
  security_group_ids         = [aws_security_group.this.id]
  auto_minor_version_upgrade = true
  maintenance_window         = "sun:04:30-sun:05:30"
  snapshot_retention_limit   = 1

  log_delivery_configuration {
    destination      = aws_cloudwatch_log_group.this.name
    destination_type = "cloudwatch-logs"
    log_format       = "json"
    log_type         = "slow-log"
  }

  # Each plan draws another password, of which the first stays; how the token is changed says docs/deploy.md.
  lifecycle {
    ignore_changes = [auth_token]
  }
}
