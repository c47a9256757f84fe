output "network" {
  description = "Full name of the network."
  value       = google_compute_network.this.id
}

output "subnetwork" {
  description = "The workers' subnet as Dataflow takes it: regions/REGION/subnetworks/NAME."
  value       = "regions/${var.region}/subnetworks/${google_compute_subnetwork.workers.name}"

  # A job that starts before the routes and names are there cannot reach its bucket.
  depends_on = [
    google_compute_firewall.deny_out,
    google_compute_firewall.google_out,
    google_compute_firewall.workers_in,
    google_compute_firewall.workers_out,
    google_compute_route.google_apis,
    google_dns_record_set.addresses,
    google_dns_record_set.wildcards,
  ]
}
