output "instance_id" {
  description = "The machine."
  value       = aws_instance.this.id
}

output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}
