<?php // Schema::create('items', …)
