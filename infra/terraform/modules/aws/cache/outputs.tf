output "url" {
  description = "ALMANAC_REDIS_URL, with the token."
  value       = "rediss://:${aws_elasticache_replication_group.this.auth_token}@${aws_elasticache_replication_group.this.primary_endpoint_address}:6379/0"
  sensitive   = true
}

output "id" {
  description = "Identifier of the replication group."
  value       = aws_elasticache_replication_group.this.replication_group_id
}
