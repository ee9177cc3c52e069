output "dns_name" {
  description = "Name of the load balancer, for a record of your own where zone_id is not given."
  value       = aws_lb.this.dns_name
}

output "target_group_arn" {
  description = "For the TargetGroupBinding in Kubernetes."
  value       = aws_lb_target_group.bot.arn
}
