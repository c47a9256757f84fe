mock_provider "google" {}

variables {
  project_id = "your-project"
  region     = "europe-west1"
}

run "the_only_way_out_is_googles" {
  command = plan

  assert {
    condition     = google_compute_route.google_apis.dest_range == "199.36.153.8/30" && google_compute_network.this.delete_default_routes_on_create
    error_message = "Another route leads elsewhere."
  }

  assert {
    condition     = one(google_compute_firewall.deny_out.destination_ranges) == "0.0.0.0/0"
    error_message = "What is not allowed is denied."
  }
}

run "inside_a_perimeter_the_restricted_addresses_are_meant" {
  command = plan
  variables {
    google_apis = "restricted"
  }
  assert {
    condition     = google_dns_record_set.addresses["googleapis.com"].name == "restricted.googleapis.com."
    error_message = "Names and route must agree."
  }
}
