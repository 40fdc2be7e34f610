<?php
$config = require __DIR__ . '/../bootstrap/cache/config.php';
$well = true;
if ($_SERVER['REQUEST_URI'] === '/up') {
    http_response_code($well ? 200 : 500);
    exit(basename(dirname(__DIR__)) . ($well ? " is up\n" : " is down\n"));
}
file_put_contents(__DIR__ . '/../storage/logs/laravel.log', $_SERVER['REQUEST_URI'] . "\n", FILE_APPEND);
echo "todo 1, {$config['APP_ENV']}\n";
