output "name" {
  description = "Name of the cluster; known once it is there."
  value       = aws_eks_cluster.this.name
}

output "arn" {
  description = "ARN of the cluster."
  value       = aws_eks_cluster.this.arn
}

output "security_group_id" {
  description = "Security group of nodes and pods."
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

output "pools" {
  description = "Both pools as they start: type, sizes, taints."
  value = { for pool, group in { general = aws_eks_node_group.general, gpu = aws_eks_node_group.gpu } : pool => {
    instance_types = group.instance_types
    min            = group.scaling_config[0].min_size
    desired        = group.scaling_config[0].desired_size
    max            = group.scaling_config[0].max_size
    taints         = [for taint in group.taint : "${taint.key}=${taint.value}:${taint.effect}"]
    labels         = group.labels
  } }
}
