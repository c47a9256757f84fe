# Names of Google's hosts lead to the addresses that the one route reaches. gcr.io is among them since
# the template launcher pulls a logging image from there; pkg.dev is Artifact Registry.

locals {
  zones = toset(["googleapis.com", "gcr.io", "pkg.dev"])
  # Under googleapis.com a wildcard points to the virtual address's own name; the others have none.
  google_name = "${var.google_apis}.googleapis.com."
}

resource "google_dns_managed_zone" "google" {
  for_each = local.zones

  project     = var.project_id
  name        = "${var.name}-${replace(each.key, ".", "-")}"
  dns_name    = "${each.key}."
  description = "${each.key} by way of ${local.google_range}"
  visibility  = "private"

  private_visibility_config {
    networks {
      network_url = google_compute_network.this.id
    }
  }
}

resource "google_dns_record_set" "addresses" {
  for_each = local.zones

  project      = var.project_id
  managed_zone = google_dns_managed_zone.google[each.key].name
  name         = each.key == "googleapis.com" ? local.google_name : "${each.key}."
  type         = "A"
  ttl          = 300
  rrdatas      = local.google_addresses
}

resource "google_dns_record_set" "wildcards" {
  for_each = local.zones

  project      = var.project_id
  managed_zone = google_dns_managed_zone.google[each.key].name
  name         = "*.${each.key}."
  type         = "CNAME"
  ttl          = 300
  rrdatas      = [each.key == "googleapis.com" ? local.google_name : "${each.key}."]
}
