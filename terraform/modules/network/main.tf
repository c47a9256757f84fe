locals {
  # https://cloud.google.com/vpc/docs/configure-private-google-access
  google_ranges = {
    private    = "199.36.153.8/30"
    restricted = "199.36.153.4/30"
  }
  google_range     = local.google_ranges[var.google_apis]
  google_addresses = [for host in range(4) : cidrhost(local.google_range, host)]
  # Dataflow workers talk to each other on these; Google's pages do not say which serves batch.
  dataflow_ports = ["12345", "12346"]
}

resource "google_compute_network" "this" {
  project                         = var.project_id
  name                            = var.name
  description                     = "Workers of beam_bert: no way in, and out to Google's APIs only."
  auto_create_subnetworks         = false
  routing_mode                    = "REGIONAL"
  delete_default_routes_on_create = true
}

resource "google_compute_subnetwork" "workers" {
  #checkov:skip=CKV_GCP_76:the network is IPv4 only, so there is no IPv6 to reach Google by
  project                  = var.project_id
  region                   = var.region
  name                     = "${var.name}-workers"
  network                  = google_compute_network.this.id
  ip_cidr_range            = var.subnet_cidr
  stack_type               = "IPV4_ONLY"
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_5_SEC"
    flow_sampling        = 0.5
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_route" "google_apis" {
  project          = var.project_id
  name             = "${var.name}-google-apis"
  network          = google_compute_network.this.id
  description      = "The only route out: Google's own API addresses."
  dest_range       = local.google_range
  next_hop_gateway = "default-internet-gateway"
}

resource "google_compute_firewall" "workers_in" {
  project       = var.project_id
  name          = "${var.name}-workers-in"
  network       = google_compute_network.this.id
  description   = "Workers of one job to each other."
  direction     = "INGRESS"
  source_ranges = [var.subnet_cidr]

  allow {
    protocol = "tcp"
    ports    = local.dataflow_ports
  }
}

resource "google_compute_firewall" "workers_out" {
  project            = var.project_id
  name               = "${var.name}-workers-out"
  network            = google_compute_network.this.id
  description        = "Workers of one job to each other."
  direction          = "EGRESS"
  destination_ranges = [var.subnet_cidr]

  allow {
    protocol = "tcp"
    ports    = local.dataflow_ports
  }
}

resource "google_compute_firewall" "google_out" {
  project            = var.project_id
  name               = "${var.name}-google-out"
  network            = google_compute_network.this.id
  description        = "Google's APIs: Storage, Dataflow, Artifact Registry, Logging."
  direction          = "EGRESS"
  destination_ranges = [local.google_range]

  allow {
    protocol = "tcp"
    ports    = ["443"]
  }
}

resource "google_compute_firewall" "deny_out" {
  project            = var.project_id
  name               = "${var.name}-deny-out"
  network            = google_compute_network.this.id
  description        = "Nothing else leaves."
  direction          = "EGRESS"
  priority           = 65534
  destination_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }

  dynamic "log_config" {
    for_each = var.log_denied ? [1] : []
    content {
      metadata = "INCLUDE_ALL_METADATA"
    }
  }
}
