<?php
// PHP, with what frameworks and scripts do for rewriting in IIS, and for forms that know only two methods.
foreach (["HTTP_X_ORIGINAL_URL", "HTTP_X_REWRITE_URL"] as $name) {
    if (!empty($_SERVER[$name])) $_SERVER["REQUEST_URI"] = $_SERVER[$name];
}
$method = $_SERVER["REQUEST_METHOD"];
if ($method === "POST") $method = strtoupper($_SERVER["HTTP_X_HTTP_METHOD_OVERRIDE"] ?? $_GET["_method"] ?? $_POST["_method"] ?? $method);
$path = parse_url($_SERVER["REQUEST_URI"], PHP_URL_PATH);
$said = $path === "/admin" ? "ADMIN" : (preg_match('~^/public(/|$)~', $path) ? "PUBLIC" : "NOTHING");
header("content-type: application/json");
echo json_encode([
    "said" => $said, "method" => $method, "path" => $path, "scheme" => "http", "host" => $_SERVER["HTTP_HOST"],
    "tenant" => $_SERVER["HTTP_X_TENANT_ID"] ?? null, "proxy" => $_SERVER["HTTP_PROXY"] ?? null,
]);
